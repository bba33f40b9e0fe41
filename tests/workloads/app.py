"""A guest book: sessions in memory, entries in sqlite, one process with one thread.

    POST /login     {"name": ...}            -> a session cookie
    POST /entries   {"token": ..., "text"}   -> {"id", "count"}: the entry's row and how many this session made
    GET  /entries                            -> {"tokens": [...]} of this session, in order
    GET  /session                            -> {"name", "count", "requests"}: from memory only
    GET  /health                             -> {"pid", "sessions", "entries"}

The database file is opened for every request and closed again.
"""

import asyncio
import contextlib
import http.cookies
import json
import os
import secrets
import sqlite3
import sys
import time

DATABASE = "/data/book.db"
PORT = 8080
REASONS = {200: "OK", 201: "Created", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found"}

sessions = {}


@contextlib.contextmanager
def database():
    connection = sqlite3.connect(DATABASE)
    try:
        with connection:
            yield connection
    finally:
        connection.close()


def create():
    with database() as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS entries (id INTEGER PRIMARY KEY, token TEXT UNIQUE, session TEXT, text TEXT, made REAL)"
        )


def login(session, body):
    name = str(body["name"])
    key = secrets.token_hex(16)
    sessions[key] = {"key": key, "name": name, "count": 0, "requests": 0, "since": time.time()}
    return 200, {"name": name}, {"Set-Cookie": f"session={key}; HttpOnly; Path=/"}


def post_entry(session, body):
    with database() as connection:
        cursor = connection.execute(
            "INSERT INTO entries (token, session, text, made) VALUES (?, ?, ?, ?)",
            (str(body["token"]), session["key"], str(body["text"]), time.time()),
        )
    session["count"] += 1
    return 201, {"id": cursor.lastrowid, "count": session["count"]}, {}


def list_entries(session, body):
    with database() as connection:
        rows = connection.execute("SELECT token FROM entries WHERE session = ? ORDER BY id", (session["key"],)).fetchall()
    return 200, {"tokens": [token for (token,) in rows]}, {}


def show_session(session, body):
    return 200, {"name": session["name"], "count": session["count"], "requests": session["requests"]}, {}


def health(session, body):
    with database() as connection:
        (entries,) = connection.execute("SELECT count(*) FROM entries").fetchone()
    return 200, {"pid": os.getpid(), "sessions": len(sessions), "entries": entries}, {}


# method and path -> function, and whether it needs a session
ROUTES = {
    ("POST", "/login"): (login, False),
    ("POST", "/entries"): (post_entry, True),
    ("GET", "/entries"): (list_entries, True),
    ("GET", "/session"): (show_session, True),
    ("GET", "/health"): (health, False),
}


def answer(method, path, headers, content):
    if (method, path) not in ROUTES:
        return 404, {"error": f"no {method} {path}"}, {}
    function, needs_session = ROUTES[method, path]
    cookie = http.cookies.SimpleCookie(headers.get("cookie", "")).get("session")
    session = sessions.get(cookie.value) if cookie else None
    if session is not None:
        session["requests"] += 1
    elif needs_session:
        return 401, {"error": "no such session"}, {}
    try:
        return function(session, json.loads(content) if content else {})
    except (KeyError, ValueError) as error:
        return 400, {"error": repr(error)}, {}


async def read_request(reader):
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").rstrip().split("\r\n")
    method, path, _ = first.split(" ")
    headers = {name.strip().lower(): value.strip() for name, value in (line.split(":", 1) for line in lines)}
    return method, path, headers, await reader.readexactly(int(headers.get("content-length", 0)))


async def serve(reader, writer):
    try:
        while True:
            status, body, extra = answer(*await read_request(reader))
            content = json.dumps(body).encode()
            headers = {"Content-Type": "application/json", "Content-Length": str(len(content)), **extra}
            head = [f"HTTP/1.1 {status} {REASONS[status]}", *(f"{name}: {value}" for name, value in headers.items())]
            writer.write("\r\n".join([*head, "", ""]).encode("latin-1") + content)
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        pass  # the client has gone
    finally:
        writer.close()


async def main():
    create()
    # A numeric address: resolving a name would start a thread.
    server = await asyncio.start_server(serve, "0.0.0.0", PORT)
    print(f"listening on {PORT}", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    asyncio.run(main())
