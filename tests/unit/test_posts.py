"""
Jobs for a loop from other threads: in order, each once, and no signal is lost however many there are.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
from functools import partial

from miniport.posts import Posts

MANY = 5000


def post_many(posts: Posts, done: list[tuple[int, int]], thread: int) -> None:
    """Post numbered jobs."""
    for number in range(MANY):
        posts(partial(done.append, (thread, number)))


def test_a_signal_finds_room_beside_any_number_of_jobs() -> None:
    """The loop does not run meanwhile; one wake-up for each job would fill its socket."""
    done: list[tuple[int, int]] = []
    errors: list[BaseException] = []

    async def serve() -> None:
        loop = posts.loop = asyncio.get_running_loop()
        came = asyncio.Event()
        loop.add_signal_handler(signal.SIGUSR1, came.set)
        try:
            poster = threading.Thread(target=post_many, args=(posts, done, 0))
            poster.start()
            poster.join()
            os.kill(os.getpid(), signal.SIGUSR1)
            await came.wait()
        finally:
            loop.remove_signal_handler(signal.SIGUSR1)

    posts = Posts(errors.append)
    asyncio.run(asyncio.wait_for(serve(), 20))
    assert done == [(0, number) for number in range(MANY)]
    assert errors == []


def test_several_threads_lose_no_job_and_each_keeps_its_order() -> None:
    done: list[tuple[int, int]] = []
    errors: list[BaseException] = []

    async def serve() -> None:
        posts.loop = asyncio.get_running_loop()
        await asyncio.gather(*(asyncio.to_thread(post_many, posts, done, thread) for thread in range(4)))
        over = asyncio.Event()
        posts(over.set)
        await over.wait()

    posts = Posts(errors.append)
    asyncio.run(asyncio.wait_for(serve(), 60))
    assert errors == []
    for thread in range(4):
        assert [number for who, number in done if who == thread] == list(range(MANY))


def test_without_a_loop_a_job_is_done_at_once_and_so_when_the_loop_is_closed() -> None:
    done: list[str] = []

    async def serve() -> None:
        posts.loop = asyncio.get_running_loop()

    errors: list[BaseException] = []
    posts = Posts(errors.append)
    posts(lambda: done.append("before"))
    assert done == ["before"]
    asyncio.run(serve())
    posts(lambda: done.append("after"))
    posts(lambda: done.append("and once more"))
    assert done == ["before", "after", "and once more"]
    assert errors == []


def test_a_job_that_raises_is_told_of_and_the_next_one_is_done() -> None:
    done: list[str] = []
    errors: list[BaseException] = []
    failure = ValueError("no")

    def fail() -> None:
        posts(lambda: done.append("posted inside"))
        raise failure

    posts = Posts(errors.append)
    posts(fail)
    posts(lambda: done.append("next"))
    assert errors == [failure]
    assert done == ["posted inside", "next"]
