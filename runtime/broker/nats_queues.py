"""Queues on JetStream: made, removed, looked at, and taken over from consumers that are gone.

A queue is a stream with the work-queue retention, and one durable pull consumer that all who
consume from the queue share.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import time

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.js.api import ConsumerConfig, DiscardPolicy, RetentionPolicy, StorageType, StreamConfig
from nats.js.errors import NotFoundError
from nats.js.manager import JetStreamManager

from runtime.broker import QueueDepth, Topology
from runtime.broker import nats_wire as wire

_SEEN = "hopbench-seen"


class Queues:
    """The queues that one connection sees. Methods raise nats-py's errors."""

    def __init__(self, client: Client, *, ack_wait_s: float, reply_timeout_s: float) -> None:
        self._client = client
        self._ack_wait_s = ack_wait_s
        self._reply_timeout_s = reply_timeout_s
        self._manager = JetStreamManager(client, timeout=reply_timeout_s)

    async def declare(self, topology: Topology) -> None:
        """Create streams and consumers; APIError when one differs from what is asked for."""
        for queue in topology.queues:
            stream = wire.token(queue.name)
            bound = [
                wire.subject(topology.exchange, binding.key)
                for binding in topology.bindings
                if binding.queue == queue.name
            ]
            subjects = [*bound, *map(wire.later, bound)]
            await self._manager.add_stream(
                StreamConfig(
                    name=stream,
                    subjects=subjects or [_unbound(stream)],
                    retention=RetentionPolicy.WORK_QUEUE,
                    discard=DiscardPolicy.NEW,
                    storage=StorageType.FILE,
                    max_msgs=queue.max_length,
                    max_bytes=queue.max_bytes,
                )
            )
            try:
                await self._manager.consumer_info(stream, wire.CONSUMER)
            except NotFoundError:
                await self._create_consumer(stream, seen=0)

    async def seal(self, topology: Topology) -> None:
        """Take the queues' subjects from them; what is stored keeps its own."""
        for queue in topology.queues:
            stream = wire.token(queue.name)
            with contextlib.suppress(NotFoundError):
                config = (await self._manager.stream_info(stream)).config
                config.subjects = [_unbound(stream)]
                await self._manager.update_stream(config)

    async def delete(self, topology: Topology) -> None:
        """Delete the queues' streams; one that is absent counts as deleted."""
        for queue in topology.queues:
            with contextlib.suppress(NotFoundError):
                await self._manager.delete_stream(wire.token(queue.name))

    async def depth(self, queue: str) -> QueueDepth:
        """Messages that no consumer has, and consumers."""
        consumers = await self._count_consumers(queue)
        # Without consumers, what was delivered and not settled is on its way back.
        return QueueDepth(await self.waiting(queue, held=consumers > 0), consumers)

    async def count(self, queue: str) -> QueueDepth:
        """As :meth:`depth`, and what consumers have; without what is not due, which none has.

        Consumers have looked at those not due that were delivered, and put them back: they look
        unsettled until their time comes.
        """
        stream = wire.token(queue)
        consumers = await self._count_consumers(queue)
        state = (await self._manager.stream_info(stream, wire.ANY_LATER)).state
        early = await self._early(stream, sum((state.subjects or {}).values()))
        unsettled, delivered = 0, 0
        if consumers:
            with contextlib.suppress(NotFoundError):  # It is being replaced: nothing is delivered.
                info = await self._manager.consumer_info(stream, wire.CONSUMER)
                unsettled = info.num_ack_pending or 0
                delivered = info.delivered.stream_seq if info.delivered is not None else 0
        held = max(0, unsettled - sum(sequence <= delivered for sequence in early))
        return QueueDepth(max(0, state.messages - len(early) - held), consumers, held)

    async def waiting(self, queue: str, *, held: bool) -> int:
        """Messages stored, without those that were delivered when consumers hold them.

        Nor those that are not due: consumers have looked at them and put them back; where there are
        no consumers, they are looked at here. Counted in the stream: its consumer hears of a new
        message a little later.
        """
        stream = wire.token(queue)
        state = (await self._manager.stream_info(stream, wire.ANY_LATER)).state
        if not held:
            later = sum((state.subjects or {}).values())
            return state.messages - len(await self._early(stream, later))
        try:
            consumer = await self._manager.consumer_info(stream, wire.CONSUMER)
        except NotFoundError:  # It is being replaced: nothing is delivered.
            return state.messages
        return state.messages - (consumer.num_ack_pending or 0)

    async def published_later(self, topology: Topology) -> int:
        """How many messages of these queues were published to come later, due by now or not."""
        count = 0
        for queue in topology.queues:
            with contextlib.suppress(NotFoundError):
                info = await self._manager.stream_info(wire.token(queue.name), wire.ANY_LATER)
                count += sum((info.state.subjects or {}).values())
        return count

    async def _early(self, stream: str, published_later: int) -> list[int]:
        """The sequences of messages that are not due yet, of so many that were published later."""
        early, sequence = [], 0
        for _ in range(published_later):
            try:
                message = await self._manager.get_msg(
                    stream, seq=sequence + 1, subject=wire.ANY_LATER, next=True
                )
            except NotFoundError:  # It was settled meanwhile.
                break
            sequence = message.seq or sequence + 1
            if wire.due_ms(message.headers) > time.time_ns() // 1_000_000:
                early.append(sequence)
        return early

    async def join(self, queue: str) -> int:
        """Be counted as a consumer; the stream sequence up to which messages were delivered before.

        What was delivered to consumers that are gone comes back: JetStream would do that after the
        ack wait, a new consumer in the place of the old one does it at once, and in order.
        """
        stream = wire.token(queue)
        info = await self._manager.consumer_info(stream, wire.CONSUMER)
        await self._client.subscribe(wire.presence(queue))
        if info.num_ack_pending and await self._is_alone(queue):
            await self.work_off_settlements(queue)
            info = await self._manager.consumer_info(stream, wire.CONSUMER)
        else:
            info.num_ack_pending = 0
        seen = int((info.config.metadata or {}).get(_SEEN, 0))
        if info.num_ack_pending:
            assert info.delivered is not None
            seen = max(seen, info.delivered.stream_seq)
            await self._manager.delete_consumer(stream, wire.CONSUMER)
            await self._create_consumer(stream, seen=seen)
        return seen

    async def work_off_settlements(self, queue: str) -> None:
        """Return when the server has worked off the settlements that it has read for a queue.

        It queues them: a message may still look unsettled when its acknowledgement has arrived.
        A sign of life that asks for an answer goes through the same queue, and changes nothing.
        """
        await self._client.request(
            wire.acknowledgements(queue), wire.PROGRESS, timeout=self._reply_timeout_s
        )

    async def synchronise(self, queue: str) -> None:
        """Return when the server has worked off all that this connection sent for the queue."""
        await self._manager.consumer_info(wire.token(queue), wire.CONSUMER)

    async def _create_consumer(self, stream: str, *, seen: int) -> None:
        config = ConsumerConfig(
            durable_name=wire.CONSUMER,
            ack_wait=self._ack_wait_s,
            max_ack_pending=-1,
            metadata={_SEEN: str(seen)},
        )
        await self._manager.add_consumer(stream, config)

    async def _is_alone(self, queue: str) -> bool:
        # A connection that has just broken off may be counted for some more milliseconds.
        for _ in range(10):
            if await self._count_consumers(queue) == 1:
                return True
            await asyncio.sleep(0.02)
        return False

    async def _count_consumers(self, queue: str) -> int:
        """Let the server trace, not deliver, a message to the subject that all of them hear.

        Source: NATS architecture decision record 41, "NATS message path tracing".
        """
        inbox = self._client.new_inbox()
        answer: asyncio.Future[Msg] = asyncio.get_running_loop().create_future()
        subscription = await self._client.subscribe(inbox, future=answer)
        await subscription.unsubscribe(limit=1)
        await self._client.publish(
            wire.presence(queue), headers={"Nats-Trace-Dest": inbox, "Nats-Trace-Only": "true"}
        )
        events = json.loads((await answer).data)["events"]
        return sum(event["type"] == "eg" for event in events)


def _unbound(stream: str) -> str:
    """The subject of a stream that is bound to nothing: without any, it would take its own name."""
    return f"hopbench.unbound.{stream}"
