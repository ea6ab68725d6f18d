import threading
from contextlib import ExitStack

import pytest

from deepgguf.files.network.gate import Gate
from deepgguf.files.network.trouble import Trouble


def goes_wrong(gate: Gate, trouble: Exception) -> None:
    with pytest.raises(type(trouble)), gate.request():
        raise trouble


def test_a_server_that_says_it_is_too_much_gets_half_of_the_requests_that_there_were():
    gate = Gate(32)
    with ExitStack() as others:
        for _ in range(7):
            others.enter_context(gate.request())
        goes_wrong(gate, Trouble("status 429", crowded=True))
        assert gate.limit == 4


def test_it_gets_one_at_least():
    gate = Gate(32)
    for _ in range(3):
        goes_wrong(gate, Trouble("status 429", crowded=True))
        assert gate.limit == 1


def test_with_every_request_that_goes_well_there_is_one_more_up_to_the_most():
    gate, limits = Gate(4), []
    goes_wrong(gate, Trouble("status 503", crowded=True))
    for _ in range(4):
        with gate.request():
            pass
        limits.append(gate.limit)
    assert limits == [2, 3, 4, 4]


def test_another_failure_changes_nothing():
    gate = Gate(4)
    goes_wrong(gate, Trouble("connection lost"))
    goes_wrong(gate, OSError())
    assert gate.limit == 4


def test_no_more_than_that_are_inside_at_once():
    gate, inside, most, lock = Gate(3), 0, 0, threading.Lock()
    full, leave = threading.Event(), threading.Event()

    def request() -> None:
        nonlocal inside, most
        with gate.request():
            with lock:
                inside += 1
                most = max(most, inside)
                if inside == 3:
                    full.set()
            leave.wait(10)
            with lock:
                inside -= 1

    threads = [threading.Thread(target=request) for _ in range(10)]
    for thread in threads:
        thread.start()
    assert full.wait(10)
    leave.set()
    for thread in threads:
        thread.join()
    assert most == 3
