import com.sun.net.httpserver.HttpExchange;
import com.sun.net.httpserver.HttpServer;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.ReentrantLock;

/**
 * A ledger in the memory of a process with many threads: an HTTP server on a pool, a monitor, a lock with a condition, a concurrent map.
 *
 * <pre>
 *   GET /entry?TOKEN  -> NUMBER BEFORE AFTER TOKEN
 *   GET /entry?end    -> NUMBER STATE ok, or what is wrong
 *   GET /file.bin     -> the file, read each time
 * </pre>
 *
 * A thread of the pool writes the entry in a monitor, counts it under its own name in a concurrent map, and wakes a thread that waits for
 * entries. Another one looks ten times a second whether the counts agree.
 */
public final class Ledger {
    private static final int PORT = 8080;
    private static final int POOL = 8;
    private static final Path FILE = Path.of("/srv/www/file.bin");
    /** How an entry follows from the one before it: tests/src/client/ledger/chain.rs. */
    private static final long START = 1;
    private static final long FACTOR = 48271;
    private static final long MODULUS = (1L << 31) - 1;

    private final ConcurrentHashMap<String, AtomicLong> counts = new ConcurrentHashMap<>();
    private final AtomicReference<String> complaint = new AtomicReference<>();
    private final ReentrantLock lock = new ReentrantLock();
    private final Condition written = lock.newCondition();
    private long number;
    private long state = START;
    /** Guarded by the lock: entries that were told of, and those that the waiting thread has been woken for. */
    private long told;
    private long heard;

    private synchronized String write(long token) {
        long before = state;
        number += 1;
        state = (before * FACTOR + token) % MODULUS;
        return number + " " + before + " " + state + " " + token;
    }

    private synchronized long number() {
        return number;
    }

    private String entry(long token) {
        String text = write(token);
        counts.computeIfAbsent(Thread.currentThread().getName(), name -> new AtomicLong()).incrementAndGet();
        lock.lock();
        try {
            told += 1;
            written.signal();
        } finally {
            lock.unlock();
        }
        return text;
    }

    private void hear() {
        lock.lock();
        try {
            while (true) {
                while (heard == told) {
                    written.awaitUninterruptibly();
                }
                heard += 1;
            }
        } finally {
            lock.unlock();
        }
    }

    private long counted() {
        return counts.values().stream().mapToLong(AtomicLong::get).sum();
    }

    private void audit() {
        // An entry is written first and counted later, and up to one of each thread is in between.
        long before = number();
        long counted = counted();
        long after = number();
        if (counted < before - POOL || counted > after) {
            complain(counted + " entries were counted between entries " + before + " and " + after);
        }
    }

    private String end() {
        synchronized (this) {
            long counted = counted();
            lock.lock();
            try {
                if (counted != number || told != number || heard > told) {
                    complain(number + " entries, " + counted + " counted, " + told + " told of, " + heard + " heard of");
                }
            } finally {
                lock.unlock();
            }
            String complained = complaint.get();
            return number + " " + state + " " + (complained == null ? "ok" : complained);
        }
    }

    private void complain(String text) {
        complaint.compareAndSet(null, text);
    }

    private static void answer(HttpExchange exchange, byte[] body) throws IOException {
        exchange.sendResponseHeaders(200, body.length);
        exchange.getResponseBody().write(body);
        exchange.close();
    }

    public static void main(String[] arguments) throws IOException {
        Ledger ledger = new Ledger();
        Thread listener = new Thread(ledger::hear, "listener");
        listener.setDaemon(true);
        listener.start();
        ScheduledExecutorService timer = Executors.newSingleThreadScheduledExecutor();
        timer.scheduleAtFixedRate(ledger::audit, 100, 100, TimeUnit.MILLISECONDS);
        HttpServer server = HttpServer.create(new InetSocketAddress(PORT), 64);
        server.setExecutor(Executors.newFixedThreadPool(POOL));
        server.createContext("/entry", exchange -> {
            String word = exchange.getRequestURI().getQuery();
            String text = word.equals("end") ? ledger.end() : ledger.entry(Long.parseLong(word));
            answer(exchange, (text + "\n").getBytes());
        });
        server.createContext("/file.bin", exchange -> answer(exchange, Files.readAllBytes(FILE)));
        server.start();
        System.out.println("listening on " + PORT);
    }
}
