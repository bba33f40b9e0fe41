"""A ledger in sqlite, over one connection to the database that is opened at the start and held until the end.

    GET /entry?TOKEN  -> NUMBER BEFORE AFTER TOKEN   after the commit
    GET /entry?end    -> NUMBER STATE ok, or what integrity_check or the rows say against it

The first argument is the journal mode: delete or wal. One process with one thread. What the database says against a commit is answered
with status 500, and the connection to the database stays the same one.
"""

import asyncio
import sqlite3
import sys

sys.dont_write_bytecode = True

from app import read_request
from ledger import START, follow

DATABASE = "/data/ledger.db"
PORT = 8080


def opened(mode):
    connection = sqlite3.connect(DATABASE, isolation_level=None)
    (chosen,) = connection.execute(f"PRAGMA journal_mode = {mode}").fetchone()
    assert chosen == mode, chosen
    connection.execute("CREATE TABLE entry (number INTEGER PRIMARY KEY, before INTEGER, after INTEGER, token INTEGER)")
    return connection


def last(connection):
    row = connection.execute("SELECT number, after FROM entry ORDER BY number DESC LIMIT 1").fetchone()
    return row or (0, START)


def write(connection, token):
    connection.execute("BEGIN IMMEDIATE")
    try:
        number, before = last(connection)
        row = (number + 1, before, follow(before, token), token)
        connection.execute("INSERT INTO entry VALUES (?, ?, ?, ?)", row)
        connection.execute("COMMIT")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    return " ".join(map(str, row))


def verdict(connection):
    said = connection.execute("PRAGMA integrity_check").fetchall()
    if said != [("ok",)]:
        return f"integrity_check: {said}"
    state = START
    for wanted, (number, before, after, token) in enumerate(connection.execute("SELECT * FROM entry ORDER BY number"), 1):
        if (number, before, after) != (wanted, state, follow(state, token)):
            return f"row {wanted} is {(number, before, after, token)} after state {state}"
        state = after
    return "ok"


def answer(connection, path):
    word = path.partition("?")[2]
    try:
        if word == "end":
            return 200, "{} {} {}".format(*last(connection), verdict(connection))
        return 200, write(connection, int(word))
    except sqlite3.Error as error:
        return 500, f"sqlite: {error}"


async def main():
    connection = opened(sys.argv[1])

    async def serve(reader, writer):
        try:
            while True:
                _, path, _, _ = await read_request(reader)
                status, text = answer(connection, path)
                content = f"{text}\n".encode()
                head = f"HTTP/1.1 {status} X\r\nContent-Type: text/plain\r\nContent-Length: {len(content)}\r\n\r\n"
                writer.write(head.encode() + content)
                await writer.drain()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass  # the client has gone
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "0.0.0.0", PORT)
    print(f"listening on {PORT}", flush=True)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main())
