"""What the engine's event stream says, and when it says it."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Iterator
from typing import Any

from runtime.launch.watch import EngineWatch

WAIT_S = 20.0


class Stream:
    """Events as the engine sends them: one when it is put in, until it is closed."""

    def __init__(self) -> None:
        self._events: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()

    def say(self, action: str, **attributes: str) -> None:
        """Announce something of the one container there is."""
        actor = {"ID": "c0ffee", "Attributes": attributes}
        self._events.put({"Action": action, "timeNano": time.time_ns(), "Actor": actor})

    def close(self) -> None:
        """End the stream."""
        self._events.put(None)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Wait for each."""
        while (event := self._events.get()) is not None:
            yield event


class Engine:
    """A client of which only the stream is asked for."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def events(self, **_options: object) -> Stream:
        """The stream."""
        return self._stream


def test_word_of_memory_may_come_after_the_end() -> None:
    """What is announced later than the container's end is waited for; without a wait it is not."""
    stream = Stream()
    client: Any = Engine(stream)
    watch = EngineWatch(client, "run")
    stream.say("die", exitCode="137")
    end = watch.wait_end("c0ffee", WAIT_S)
    assert end is not None
    assert end.code == 137
    assert not watch.out_of_memory("c0ffee")
    late = threading.Timer(0.05, stream.say, ("oom",))
    late.start()
    assert watch.out_of_memory("c0ffee", WAIT_S)
    assert not watch.out_of_memory("another", 0.01)
    late.join()
    watch.close()
