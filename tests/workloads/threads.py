"""A ledger in the memory of a process with many threads: ThreadingHTTPServer on a pool of threads, a queue, locks, condition variables.

    GET /entry?TOKEN  -> NUMBER BEFORE AFTER TOKEN
    GET /entry?end    -> NUMBER STATE ok, or what the auditor found

A thread of the pool reads the request and puts a job into a queue; a worker takes it, writes the entry under a lock, counts it in its own
thread-local storage and under another lock, and wakes the first thread through a condition variable. An auditor looks ten times a second
whether the counts agree.
"""

import queue
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

sys.dont_write_bytecode = True

from ledger import START, follow

PORT = 8080
# A connection that stays keeps a thread of the pool; these are enough for the clients and one at the end.
POOL = 32
WORKERS = 6


class Job:
    def __init__(self, token):
        self.token = token
        self.answered = threading.Condition()
        self.answer = None

    def wait(self):
        with self.answered:
            while self.answer is None:
                self.answered.wait()
            return self.answer

    def finish(self, answer):
        with self.answered:
            self.answer = answer
            self.answered.notify()


class Ledger:
    def __init__(self):
        self.jobs = queue.Queue(maxsize=8)
        self.lock = threading.Lock()
        self.number = 0
        self.state = START
        self.counts_lock = threading.RLock()
        self.counts = [0] * WORKERS
        self.written = threading.Condition(self.lock)
        self.own = threading.local()
        self.complaint = None

    def write(self, token):
        with self.lock:
            before = self.state
            self.number += 1
            self.state = follow(before, token)
            self.written.notify_all()
            return self.number, before, self.state, token

    def work(self, me):
        self.own.count = 0
        while True:
            job = self.jobs.get()
            answer = self.write(job.token)
            self.own.count += 1
            with self.counts_lock:
                self.counts[me] += 1
                if self.counts[me] != self.own.count:
                    self.complain(f"worker {me} wrote {self.own.count} entries and counted {self.counts[me]}")
            job.finish(answer)
            self.jobs.task_done()

    def audit(self):
        last = 0
        while True:
            with self.written:
                self.written.wait(timeout=0.1)
                number = self.number
            if number < last:
                self.complain(f"entry {number} came after entry {last}")
            last = number
            with self.counts_lock:
                counted = sum(self.counts)
            # An entry is written first and counted later.
            with self.lock:
                if not number - WORKERS <= counted <= self.number:
                    self.complain(f"{counted} entries were counted, and {number} written before that")

    def complain(self, complaint):
        with self.counts_lock:
            self.complaint = self.complaint or complaint

    def end(self):
        self.jobs.join()
        with self.lock, self.counts_lock:
            if sum(self.counts) != self.number:
                self.complain(f"{self.counts} entries were counted, and {self.number} written")
            return self.number, self.state, self.complaint or "ok"


ledger = Ledger()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    # One write for the head and the body.
    wbufsize = -1

    def do_GET(self):
        word = self.path.partition("?")[2]
        if word == "end":
            answer = ledger.end()
        else:
            job = Job(int(word))
            ledger.jobs.put(job)
            answer = job.wait()
        content = (" ".join(map(str, answer)) + "\n").encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


class PooledServer(ThreadingHTTPServer):
    request_queue_size = 64
    pool = ThreadPoolExecutor(POOL)

    def process_request(self, request, client_address):
        self.pool.submit(self.process_request_thread, request, client_address)


if __name__ == "__main__":
    for me in range(WORKERS):
        threading.Thread(target=ledger.work, args=(me,), daemon=True).start()
    threading.Thread(target=ledger.audit, daemon=True).start()
    with PooledServer(("0.0.0.0", PORT), Handler) as server:
        print(f"listening on {PORT}", flush=True)
        server.serve_forever()
