"""Who may read and who may work, by threads that wait for each other."""

import pickle
import threading

from deepgguf.executors.turns import Turns


class Threads:
    """Threads of windows: each reads, then works, as far as it is let."""

    def __init__(self, turns, count):
        self.turns, self.lock = turns, threading.Lock()
        self.read, self.worked = threading.Semaphore(0), threading.Semaphore(0)
        self.reading, self.working, self.buffers = 0, 0, set()
        self.threads = [threading.Thread(target=self.window, daemon=True) for _ in range(count)]
        for thread in self.threads:
            thread.start()

    def window(self):
        with self.turns.window() as buffers:
            self.buffers.add(id(buffers))
            with self.turns.reading(1):
                self.step("reading", self.read)
            with self.turns.turn():
                self.step("working", self.worked)

    def step(self, name, let):
        with self.lock:
            setattr(self, name, getattr(self, name) + 1)
        assert let.acquire(timeout=10)
        with self.lock:
            setattr(self, name, getattr(self, name) - 1)

    def come_to(self, **expected):
        """Whether so many are reading and working before long, and still a moment later."""
        seen = 0
        for _ in range(500):
            seen = seen + 1 if all(getattr(self, name) == count for name, count in expected.items()) else 0
            if seen == 5:
                return True
            threading.Event().wait(0.01)
        return False

    def end(self):
        self.read.release(100)
        self.worked.release(100)
        for thread in self.threads:
            thread.join(10)
        return not any(thread.is_alive() for thread in self.threads)


def test_so_many_read_and_so_many_work():
    threads = Threads(Turns(2, 4, 4), 12)
    assert threads.come_to(reading=4, working=0)
    threads.read.release(2)
    assert threads.come_to(reading=4, working=2)
    assert threads.end()


def test_while_there_is_work_for_all_no_further_window_is_read():
    threads = Threads(Turns(1, 4, 4), 12)
    threads.read.release()
    assert threads.come_to(reading=4, working=1)
    threads.read.release(3)
    assert threads.come_to(reading=1, working=1)
    threads.worked.release(2)
    assert threads.come_to(reading=1, working=1)
    threads.worked.release()
    assert threads.come_to(reading=4, working=1)
    assert threads.end()


def test_there_are_as_many_buffers_as_were_used_at_once():
    threads = Threads(Turns(1, 3, 3), 40)
    assert threads.come_to(reading=3)
    assert threads.end()
    assert len(threads.buffers) <= 4


def test_a_read_that_fails_leaves_its_place_to_another():
    turns = Turns(1, 1, 1)
    for _ in range(3):
        try:
            with turns.window(), turns.reading(1):
                raise OSError
        except OSError:
            pass
    with turns.window(), turns.reading(1):
        pass


def test_without_a_number_nobody_waits():
    threads = Threads(Turns(), 5)
    assert threads.come_to(reading=5)
    threads.read.release(5)
    assert threads.come_to(working=5)
    assert threads.end()


def test_sent_elsewhere_nobody_works_there_yet():
    turns = Turns(1, 1, 1)
    with turns.window():
        with turns.reading(1):
            pass
        with turns.turn():
            there = pickle.loads(pickle.dumps(turns))
    with there.window():
        with there.reading(1):
            pass
        with there.turn():
            pass
