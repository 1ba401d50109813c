"""A worker's life: read settings, load the component, connect, consume, and end in good order."""

import time

FIRST_INSTRUCTION_NS = time.monotonic_ns()

import gc  # noqa: E402
import logging  # noqa: E402
import os  # noqa: E402
import resource  # noqa: E402
import signal  # noqa: E402
import sys  # noqa: E402
import threading  # noqa: E402
from collections.abc import Callable  # noqa: E402
from types import FrameType  # noqa: E402
from typing import Any  # noqa: E402

from runtime.broker import Broker, connect  # noqa: E402
from runtime.clock import clock_id  # noqa: E402
from runtime.errors import BrokerError, ComponentError, HopbenchError  # noqa: E402
from runtime.message import Cipher  # noqa: E402
from runtime.spans import MARK, OK, Mark, Spool  # noqa: E402
from runtime.worker.component import Context, Loaded, load  # noqa: E402
from runtime.worker.handler import Handler  # noqa: E402
from runtime.worker.settings import Settings, read_settings  # noqa: E402

EXIT_INPUT = 2
EXIT_COMPONENT = 3
EXIT_BROKER = 4
EXIT_SPOOL = 5

_KEEP_ALIVE_PERIOD_S = 1.0
_SETTLE_TIMEOUT_S = 5.0


def main() -> int:
    """Run until told to stop (or, in one-shot mode, for one message). Returns the exit code."""
    settings = read_settings(os.environ)
    logging.basicConfig(level=settings.log_level, format="%(levelname)s %(message)s")
    spool = (
        Spool(settings.spool, step=settings.step_index, clock=clock_id())
        if settings.spool
        else None
    )
    if spool is not None:
        spool.mark(Mark.FIRST_INSTRUCTION, FIRST_INSTRUCTION_NS)
    cipher = (
        Cipher(settings.crypto_password, settings.crypto_vector)
        if settings.crypto_password
        else None
    )
    context = Context(_not_yet, logging.getLogger(settings.step), settings.variables)
    component = load(settings.component_root, settings.main)
    if settings.runs_shutdown:
        _run_shutdown(settings, component)
        return 0
    state = _run_first_hooks(settings, component)
    # The adapter is imported inside connect(): import it here, so that the two phases are apart.
    if settings.broker_url.startswith("amqp:"):
        import runtime.broker.rabbitmq
    else:
        import runtime.broker.nats  # noqa: F401
    _mark(spool, Mark.IMPORTED)
    broker = connect(settings.broker_url, name=f"{settings.flow}/{settings.step}")
    _mark(spool, Mark.CONNECTED)
    handler = _handler(settings)(
        settings, broker, component, spool, context, cipher, _snapshot(settings)
    )
    threading.excepthook = _report_thread(handler)
    # What is there now stays: the collector need not look at it again, least of all within a hop.
    gc.freeze()
    stopping = _stop_on_signal(broker)
    broker.subscribe(settings.queue, prefetch=settings.prefetch)
    _mark(spool, Mark.CONSUMING)
    _keep_alive(broker, handler)
    try:
        _consume(settings, broker, handler, stopping)
    finally:
        handler.give_up()
        if spool is not None:
            usage = resource.getrusage(resource.RUSAGE_SELF)
            cpu_ns = round((usage.ru_utime + usage.ru_stime) * 1e9)
            used = (time.monotonic_ns(), _memory_peak_bytes(), cpu_ns)
            spool.write(spool.encode(MARK, OK, 0, 0, 0, Mark.STOPPING, 0, *used))
    broker.close()
    if settings.runs_startup and not settings.startup_state:
        _run_hook(settings, component, "shutdown", settings.config, state)
    return 0


def _run_first_hooks(settings: Settings, component: Loaded) -> object:
    """The hooks before the first message: startup where this worker is told to, then init."""
    state = None
    if settings.runs_startup:
        state = _run_hook(settings, component, "startup", settings.config)
        if settings.startup_state and "startup" in component.hooks:
            from runtime.worker import hooks

            hooks.keep(settings.startup_state, state)
    _run_hook(settings, component, "init", settings.config)
    return state


def _run_shutdown(settings: Settings, component: Loaded) -> None:
    from runtime.worker import hooks

    state = hooks.kept(settings.startup_state)
    _run_hook(settings, component, "shutdown", settings.config, state)


def _run_hook(settings: Settings, component: Loaded, name: str, *arguments: object) -> object:
    hook = component.hooks.get(name)
    if hook is None:
        return None
    from runtime.worker import hooks

    limit_s = settings.hook_timeout_s
    return hooks.run(name, hook, *arguments, step=settings.step, limit_s=limit_s)


def _snapshot(settings: Settings) -> dict[str, Any]:
    if not settings.snapshot_file:
        return {}
    from runtime.worker import snapshots

    return snapshots.load(settings.snapshot_file)


def _report_thread(handler: Handler) -> Callable[[threading.ExceptHookArgs], None]:
    """What to do when a thread of the component's own dies of an exception: report it."""

    def report(ended: threading.ExceptHookArgs) -> None:
        if ended.exc_value is not None and ended.exc_type is not SystemExit:
            from runtime.worker.late import report_thread

            report_thread(handler, ended.exc_value)

    return report


def _handler(settings: Settings) -> type[Handler]:
    if not settings.inject_delays:
        return Handler
    from runtime.worker.delays import DelayingHandler

    return DelayingHandler


def _consume(
    settings: Settings, broker: Broker, handler: Handler, stopping: threading.Event
) -> None:
    while not stopping.is_set():
        delivery = broker.receive(handler.patience_s())
        if delivery is not None:
            handler.handle(delivery)
            if settings.one_shot:
                break
        handler.run_errands()
    handler.run_errands()
    broker.settle(_SETTLE_TIMEOUT_S)
    while settings.one_shot and handler.is_unfinished() and not stopping.is_set():
        # The next queue is full. A second message that comes in now is left unacknowledged: it
        # returns to its queue for the next container.
        broker.receive(handler.patience_s())
        handler.run_errands()
    if handler.late is not None:
        handler.late.close()
        handler.late.send_all()
        broker.settle(_SETTLE_TIMEOUT_S)
        handler.late.give_up_refused()
        broker.settle(_SETTLE_TIMEOUT_S)


def _keep_alive(broker: Broker, handler: Handler) -> None:
    """Answer heartbeats from a second thread while ``process`` keeps the first one busy."""

    def run() -> None:
        while True:
            time.sleep(_KEEP_ALIVE_PERIOD_S)
            since_ns = handler.busy_since_ns
            if since_ns and time.monotonic_ns() - since_ns > _KEEP_ALIVE_PERIOD_S * 1e9 / 2:
                try:
                    broker.keep_alive()
                except BrokerError:
                    # The owner's next call raises the same error, where it can be handled.
                    return

    threading.Thread(target=run, name="keep-alive", daemon=True).start()


def _stop_on_signal(broker: Broker) -> threading.Event:
    stopping = threading.Event()

    def stop(_signal: int, _frame: FrameType | None) -> None:
        stopping.set()
        broker.wake()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return stopping


def _memory_peak_bytes() -> int:
    """Peak resident memory. Not ru_maxrss on Linux: exec keeps the parent's in it."""
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    return int(line.split()[1]) * 1024
    except FileNotFoundError:
        pass
    # macOS counts in bytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _mark(spool: Spool | None, phase: int) -> None:
    if spool is not None:
        spool.mark(phase, time.monotonic_ns())


def _not_yet(event: str, _payload: object) -> None:
    raise RuntimeError(f"emit({event!r}) before the first message")


def _run() -> int:
    try:
        return main()
    except BrokerError as error:
        print(f"hopbench worker: {error}", file=sys.stderr, flush=True)
        return EXIT_BROKER
    except HopbenchError as error:
        print(f"hopbench worker: {error}", file=sys.stderr, flush=True)
        return EXIT_COMPONENT if isinstance(error, ComponentError) else EXIT_INPUT
    except OSError as error:
        print(f"hopbench worker: cannot write its spans: {error}", file=sys.stderr, flush=True)
        return EXIT_SPOOL


if __name__ == "__main__":
    code = _run()
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    # Everything is closed and flushed: taking the interpreter apart would only delay the end,
    # and a hung thread of a component could prevent it.
    os._exit(code)
