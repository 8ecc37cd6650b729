"""Limits for registries: what they are, what a part of a run takes of them, and whose turn it is."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
from urllib3.connection import HTTPConnection

from squashkit.errors import Cancelled, UsageError
from squashkit.options import Limits, Spread
from squashkit.transports.registry.limits import Gate


def test_a_part_takes_its_share() -> None:
    """Of both; of connections one at least, and where there is no limit none."""
    assert Limits(10, 3.0).share(4) == Limits(2, 0.75)
    assert Limits(2, "1/3").share(8).connections == 1
    assert Limits().share(3) == Limits()
    assert Spread("2/4", limits=Limits(8, 2)).of_part == Limits(2, 0.5)


@pytest.mark.parametrize(("text", "rate"), [("20", 20), ("0.5", 0.5), ("1/4", 0.25), (" 3 ", 3)])
def test_a_rate(text: str, rate: float) -> None:
    """A number, with a point or as a fraction."""
    assert Limits(requests_per_second=text).rate == rate


@pytest.mark.parametrize("text", ["0", "-1", "nan", "inf", "1/0", "x", "", "1e9", "1e999", "1/-2"])
def test_no_rate(text: str) -> None:
    """Whatever else is told."""
    with pytest.raises(UsageError, match="no number of requests in a second"):
        Limits(requests_per_second=text)


@pytest.mark.parametrize("rate", [0, -1.0, float("nan"), float("inf")])
def test_no_rate_of_a_number(rate: float) -> None:
    """The same of numbers."""
    with pytest.raises(UsageError, match="no number of requests in a second"):
        Limits(requests_per_second=rate)


def test_turns_are_in_even_time() -> None:
    """The first one, too, has its distance: the run before may have asked just now."""
    gate = Gate(Limits(requests_per_second=0.001))
    turns = [gate.delay() for _ in range(3)]
    assert [round(turn, -1) for turn in turns] == [1000, 2000, 3000]
    assert Gate(Limits()).delay() == 0


def test_who_waits_for_a_connection_is_woken() -> None:
    """By one that is given back, and where all waiting ends by Cancelled."""
    gate = Gate(Limits(1))
    first = gate.take(lambda: HTTPConnection("127.0.0.1"))
    got: list[object] = []

    def wait() -> None:
        try:
            got.append(gate.take(lambda: HTTPConnection("127.0.0.1")))
        except Cancelled as error:
            got.append(error)

    ends: list[Callable[[], None]] = [lambda: gate.give_back(first), gate.interrupt]
    for end in ends:
        thread = threading.Thread(target=wait)
        thread.start()
        assert thread.is_alive()
        end()
        thread.join(10)
    assert [type(one) for one in got] == [HTTPConnection, Cancelled]


def test_a_connection_is_not_taken_while_it_is_put_back() -> None:
    """Who takes it then is its one user: it counts as used, and is not closed as an idle one."""
    gate = Gate(Limits(2))
    pool = [HTTPConnection("127.0.0.1")]
    connection = gate.take(pool.pop)
    taken: list[object] = []
    other = threading.Thread(target=lambda: taken.append(gate.take(pool.pop)))

    def put() -> None:
        pool.append(connection)
        other.start()
        other.join(0.2)  # long enough to take it, if that could be

    gate.give_back(connection, put)
    other.join(10)
    assert taken == [connection]
    gate.take(lambda: HTTPConnection("127.0.0.1"))
    waiting = threading.Thread(target=lambda: taken.append(gate.take(lambda: connection)))
    waiting.start()
    waiting.join(0.2)
    assert taken == [connection]  # both are in use
    gate.give_back(connection)
    waiting.join(10)
    assert len(taken) == 2


@pytest.mark.parametrize(
    "address",
    [
        "tls://cluster.example:8786",
        "tls://10.0.0.1:8786/",
        "tcp://127.0.0.1:8786",
        "localhost:1",
        "tcp://[::1]:1",
    ],
)
def test_a_scheduler(address: str) -> None:
    """Is reached by TLS, or is on this machine."""
    assert Spread(scheduler=address).scheduler == address


@pytest.mark.parametrize(
    "address", ["tcp://10.0.0.1:8786", "cluster.example:8786", "tcp://127.0.0.1.example:1"]
)
def test_a_scheduler_that_anybody_could_be(address: str) -> None:
    """It is refused, with the reason and the way out."""
    with pytest.raises(UsageError, match="a Dask worker runs whatever it is sent.*tls://"):
        Spread(scheduler=address)


@pytest.mark.parametrize(
    "address", ["", "tls://", "tls://host", "ucx://host:1", "http://host:1", "tls://a b:1"]
)
def test_no_scheduler(address: str) -> None:
    """What is no address of one is told."""
    with pytest.raises(UsageError, match="no address of a Dask scheduler"):
        Spread(scheduler=address)


def test_one_cluster_is_enough() -> None:
    """A made one or a named one."""
    with pytest.raises(UsageError, match="one of them is enough"):
        Spread(workers=2, scheduler="tls://host:1")
    with pytest.raises(UsageError, match="less than one process"):
        Spread(workers=0)
