"use strict";
// A ledger in the memory of an event loop, with work on the thread pool before each entry.
//
//   GET /entry?TOKEN  -> NUMBER BEFORE AFTER TOKEN
//   GET /entry?end    -> NUMBER STATE ok, or what is wrong
//   GET /file.bin     -> the file, read by the pool each time
//
// For an entry the pool makes random bytes and derives a key from the token and them; the event loop derives the same key by itself and
// compares. A timer looks ten times a second whether the counts agree.

const crypto = require("node:crypto");
const fs = require("node:fs");
const http = require("node:http");

const PORT = 8080;
const FILE = "/srv/www/file.bin";
// How an entry follows from the one before it: tests/src/client/ledger/chain.rs. All products are whole numbers below 2^53.
const START = 1;
const FACTOR = 48271;
const MODULUS = 2 ** 31 - 1;

const KEY_ROUNDS = 50;
const KEY_BYTES = 32;
const SALT_BYTES = 16;

const ledger = { number: 0, state: START };
const jobs = { begun: 0, done: 0 };
const salts = new Set();
let complaint = null;
let audits = 0;
let audited = 0;

function complain(text) {
    complaint ??= text;
}

function write(token) {
    const before = ledger.state;
    ledger.number += 1;
    ledger.state = (before * FACTOR + token) % MODULUS;
    return [ledger.number, before, ledger.state, token].join(" ");
}

function entry(token, answer) {
    jobs.begun += 1;
    crypto.randomBytes(SALT_BYTES, (error, salt) => {
        if (error) return answer(500, `${error}\n`);
        const text = salt.toString("hex");
        if (salts.has(text)) complain(`the random bytes ${text} came twice`);
        salts.add(text);
        crypto.pbkdf2(String(token), salt, KEY_ROUNDS, KEY_BYTES, "sha256", (error, key) => {
            if (error) return answer(500, `${error}\n`);
            const own = crypto.pbkdf2Sync(String(token), salt, KEY_ROUNDS, KEY_BYTES, "sha256");
            if (!own.equals(key)) complain(`the pool derived another key for ${token} than the event loop`);
            jobs.done += 1;
            answer(200, `${write(token)}\n`);
        });
    });
}

function end() {
    if (jobs.begun !== jobs.done) complain(`${jobs.begun} jobs were begun and ${jobs.done} done`);
    if (jobs.done !== ledger.number || salts.size !== ledger.number) {
        complain(`${jobs.done} jobs were done with ${salts.size} salts, and ${ledger.number} entries written`);
    }
    if (audits === 0) complain("the timer never came");
    return `${ledger.number} ${ledger.state} ${complaint ?? "ok"}\n`;
}

function audit() {
    audits += 1;
    if (ledger.number < audited) complain(`entry ${ledger.number} came after entry ${audited}`);
    audited = ledger.number;
    if (jobs.done > jobs.begun) complain(`${jobs.begun} jobs were begun and ${jobs.done} done`);
}

const server = http.createServer((request, response) => {
    const answer = (status, body) => {
        response.writeHead(status, { "Content-Length": Buffer.byteLength(body) });
        response.end(body);
    };
    const [path, word] = request.url.split("?");
    if (path === "/file.bin") {
        fs.readFile(FILE, (error, body) => (error ? answer(500, `${error}\n`) : answer(200, body)));
    } else if (path !== "/entry") {
        answer(404, "no such page\n");
    } else if (word === "end") {
        answer(200, end());
    } else {
        entry(Number(word), answer);
    }
});
// Connections stay, however long the container is held.
server.keepAliveTimeout = 0;
server.requestTimeout = 0;
server.headersTimeout = 0;
setInterval(audit, 100);
server.listen(PORT, "0.0.0.0", () => console.log(`listening on ${PORT}`));
