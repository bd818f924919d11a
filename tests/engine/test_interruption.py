"""Ctrl-C, SIGTERM and SIGKILL: when they are obeyed, and what is left after them."""

import os
import random
import signal
import threading
import time

import pytest
from runs import (
    STOPPED,
    Signal,
    checkpoints_in,
    exit_code,
    make_images,
    make_run,
    outcome,
    read_result,
    start,
)
from skorch.callbacks import Callback

import sksimclr._engine.checkpoints as module
from sksimclr._machine.signals import Interrupted, Interruption

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings(
        "ignore::sklearn.exceptions.ConvergenceWarning"  # noise, and few steps
    ),
]
SIGNALS = [signal.SIGINT, signal.SIGTERM]


class Stop(Exception):
    """What the test's own handlers raise."""


def stop(number, frame):
    """Handle a signal as a user might."""
    raise Stop(number)


def handlers():
    """Return the handlers of the signals that matter."""
    return [signal.getsignal(number) for number in SIGNALS]


@pytest.fixture(autouse=True)
def own_handlers():
    """Handle both signals by raising, and see to it that they are put back."""
    before = [signal.signal(number, stop) for number in SIGNALS]
    yield
    after = handlers()
    for number, handler in zip(SIGNALS, before, strict=True):
        signal.signal(number, handler)
    assert after == [stop, stop]


@pytest.fixture(scope="module")
def images():
    """Forty images, which make batches of 16, 16 and 8."""
    return make_images()


class At(Callback):
    """Call a function at a moment of the second epoch."""

    def __init__(self, moment, function):
        self.moment, self.function = moment, function

    def __deepcopy__(self, memo):
        """Stay the same object."""
        return self


def _method(name):
    """Return the method of `At` for one of skorch's moments."""

    def method(self, net, **kwargs):
        if self.moment == name and len(net.history) in (0, 2, 3):
            self.function()

    return method


MOMENTS = [
    "on_train_begin",
    "on_epoch_begin",
    "on_batch_begin",
    "on_batch_end",
    "on_epoch_end",
    "on_train_end",
]
for _name in MOMENTS:
    setattr(At, _name, _method(_name))


# Handlers


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("moment", MOMENTS)
def test_signal_is_obeyed_whenever_it_comes(images, moment, number, tmp_path):
    """By the handler there was, after the batch at hand; never swallowed."""
    expected = outcome(make_run().fit(images))
    n_sent = []

    def send():
        if not n_sent:
            n_sent.append(1)
            signal.raise_signal(number)

    with pytest.raises(Stop, match=str(int(number))):
        make_run(tmp_path, callbacks=[At(moment, send)]).fit(images)
    assert handlers() == [stop, stop]
    assert checkpoints_in(tmp_path)
    assert outcome(make_run(tmp_path).fit(images)) == expected


@pytest.mark.parametrize("number", SIGNALS)
def test_signal_in_an_epoch_that_a_callback_makes_the_last_is_obeyed(
    images, number, tmp_path
):
    """Early stopping does not swallow it."""

    class StopEarly(Callback):
        def on_epoch_end(self, net, **kwargs):
            signal.raise_signal(number)
            raise KeyboardInterrupt

    with pytest.raises(Stop):
        make_run(tmp_path, callbacks=[StopEarly()]).fit(images)


def test_signal_in_a_run_that_was_finished_is_obeyed(images, tmp_path):
    """Though there is no batch after which it could be."""
    make_run(tmp_path).fit(images)
    send = At("on_train_end", lambda: signal.raise_signal(signal.SIGTERM))
    with pytest.raises(Stop):
        make_run(tmp_path, callbacks=[send]).fit(images)


@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("moment", ["on_batch_begin", "on_epoch_end"])
def test_second_signal_is_obeyed_at_once(images, moment, number, tmp_path):
    """Also at the end of an epoch, where skorch's callbacks stop training early."""
    reached = []

    def send():
        signal.raise_signal(signal.SIGINT)
        reached.append(1)
        signal.raise_signal(number)
        reached.append(2)

    with pytest.raises(Stop, match=str(int(number))):
        make_run(tmp_path, callbacks=[At(moment, send)]).fit(images)
    assert reached == [1]


def test_second_ctrl_c_while_a_checkpoint_is_written_is_obeyed(
    images, tmp_path, monkeypatch
):
    """By default as KeyboardInterrupt, which is not taken for early stopping."""
    for number in SIGNALS:
        signal.signal(number, signal.default_int_handler)
    write, n_writes = module._HashingFile.write, []

    def sending(self, data):
        n_writes.append(1)
        if len(n_writes) in (300, 301):
            signal.raise_signal(signal.SIGINT)
        return write(self, data)

    with monkeypatch.context() as patch:
        patch.setattr(module._HashingFile, "write", sending)
        with pytest.raises(KeyboardInterrupt):
            make_run(tmp_path).fit(images)
    assert len(n_writes) >= 301
    assert handlers() == [signal.default_int_handler] * 2
    for number in SIGNALS:
        signal.signal(number, stop)
    assert checkpoints_in(tmp_path) == ["000001-00000000.ckpt"]
    assert outcome(make_run(tmp_path).fit(images)) == outcome(make_run().fit(images))


@pytest.mark.parametrize("moment", MOMENTS)
def test_handlers_are_put_back_after_errors(images, moment, tmp_path):
    """Of callbacks; and a signal that came before the error is obeyed."""

    def fail():
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        make_run(tmp_path, callbacks=[At(moment, fail)]).fit(images)
    assert handlers() == [stop, stop]

    def send_and_fail():
        signal.raise_signal(signal.SIGTERM)
        fail()

    with pytest.raises(Stop) as caught:
        make_run(tmp_path, callbacks=[At(moment, send_and_fail)]).fit(images)
    assert isinstance(caught.value.__context__, RuntimeError)
    assert handlers() == [stop, stop]


def test_handlers_during_and_after_a_fit(images, tmp_path):
    """Ours with checkpoint_dir, those of the caller without, and after both."""
    seen = []
    look = At("on_batch_begin", lambda: seen.append(handlers()))
    make_run(callbacks=[look], max_epochs=2).fit(images)
    assert seen == 3 * [[stop, stop]]
    seen.clear()
    make_run(tmp_path, callbacks=[look], max_epochs=2).fit(images)
    assert len(seen) == 3 and not any(stop in pair for pair in seen)
    assert handlers() == [stop, stop]


def test_without_checkpoints_ctrl_c_comes_at_once(images):
    """In the midst of a batch."""
    reached = []

    def send():
        signal.raise_signal(signal.SIGINT)
        reached.append(1)

    with pytest.raises(Stop):
        make_run(callbacks=[At("on_batch_begin", send)]).fit(images)
    assert not reached


@pytest.mark.parametrize("number", SIGNALS)
def test_ignored_signals_stay_ignored(images, number, tmp_path):
    """As those of Ctrl-C are in jobs that a script starts in the background."""
    signal.signal(number, signal.SIG_IGN)
    simclr = make_run(tmp_path, callbacks=[Signal(number, 2)]).fit(images)
    assert signal.getsignal(number) is signal.SIG_IGN
    signal.signal(number, stop)
    assert simclr.n_iter_ == 3


def test_handler_that_returns_still_stops_the_run(images, tmp_path):
    """By KeyboardInterrupt, for there is no encoder to return; it is called once."""
    calls = []
    signal.signal(signal.SIGTERM, lambda number, frame: calls.append(number))
    with pytest.raises(KeyboardInterrupt, match="stopped by signal 15"):
        make_run(tmp_path, callbacks=[Signal(signal.SIGTERM, 4)]).fit(images)
    signal.signal(signal.SIGTERM, stop)
    assert calls == [signal.SIGTERM]


def test_handler_that_raises_is_called_once(images, tmp_path):
    """Not again when the run is left by what it raised."""
    calls = []

    def count(number, frame):
        calls.append(number)
        raise Stop(number)

    signal.signal(signal.SIGTERM, count)
    with pytest.raises(Stop):
        make_run(tmp_path, callbacks=[Signal(signal.SIGTERM, 4)]).fit(images)
    signal.signal(signal.SIGTERM, stop)
    assert calls == [signal.SIGTERM]


def test_handler_that_returns_lets_a_complete_run_be(images, tmp_path):
    """The signal that came after the last epoch was saved reaches it."""
    calls = []
    signal.signal(signal.SIGTERM, lambda number, frame: calls.append(number))
    send = At("on_train_end", lambda: signal.raise_signal(signal.SIGTERM))
    simclr = make_run(tmp_path, callbacks=[send]).fit(images)
    signal.signal(signal.SIGTERM, stop)
    assert calls == [signal.SIGTERM]
    assert simclr.n_iter_ == 3


def test_fit_within_a_fit_hands_the_signal_on(images, tmp_path):
    """The inner one is saved, then the outer one ends too."""

    def fit():
        make_run(tmp_path / "inner", callbacks=[Signal(signal.SIGINT, 2)]).fit(images)

    with pytest.raises((KeyboardInterrupt, Stop)):
        make_run(tmp_path / "outer", callbacks=[At("on_batch_begin", fit)]).fit(images)
    assert checkpoints_in(tmp_path / "inner") == ["000000-00000002.ckpt"]
    assert checkpoints_in(tmp_path / "outer") == ["000001-00000000.ckpt"]


def test_context_alone():
    """Notes, delivers once, and is silent outside the main thread."""
    with pytest.raises(Stop), Interruption() as interruption:
        assert interruption.pending == 0
        signal.raise_signal(signal.SIGTERM)
        assert interruption.pending == signal.SIGTERM
        try:
            raise Interrupted
        except Interrupted:
            interruption.deliver()
    seen = []

    def enter():
        with Interruption():
            seen.append(handlers())

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert seen == [[stop, stop]]


# Processes that are killed

posix = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Outcome and events of a process that nobody stopped."""
    folder = tmp_path_factory.mktemp("uninterrupted")
    process = start(folder / "run", folder / "result", "kill_at 0")
    assert exit_code(process) == 0
    result, messages, events = read_result(folder / "result")
    assert not messages
    return result, events


def finish(tmp_path, **params):
    """Start the process again until it ends; return its outcome."""
    assert exit_code(start(tmp_path / "run", tmp_path / "result", **params)) == 0
    result, messages, _ = read_result(tmp_path / "result")
    assert not messages
    assert not list((tmp_path / "run").glob("*.tmp"))
    assert len(checkpoints_in(tmp_path / "run")) <= 2
    return result


@posix
def test_processes_agree_with_this_one(images, uninterrupted):
    """To the bit."""
    assert uninterrupted[0] == outcome(make_run().fit(images))


@posix
@pytest.mark.parametrize("part", range(4))
def test_run_killed_at_every_kind_of_moment_ends_with_the_same_bits(
    uninterrupted, part, tmp_path
):
    """At each step around the bytes of a checkpoint, and at many among them."""
    expected, events = uninterrupted
    numbers = range(1, len(events) + 1)
    steps = [n for n in numbers if events[n - 1] not in ("write", "batch")]
    others = random.Random(0).sample(numbers, 20)
    assert set(events) == {"batch", "write", "fsync", "replace", "unlink"}
    for n in sorted({*steps, *others, len(events)})[part::4]:
        folder = tmp_path / str(n)
        folder.mkdir()
        process = start(folder / "run", folder / "result", f"kill_at {n}")
        assert exit_code(process) == -signal.SIGKILL
        assert not (folder / "result").exists()
        assert finish(folder) == expected, (n, events[n - 1])


@posix
def test_run_killed_again_and_again_ends_with_the_same_bits(uninterrupted, tmp_path):
    """Every time a little later than where it went on."""
    n_kills = 0
    for n in range(1, 200, 37):
        process = start(tmp_path / "run", tmp_path / "result", f"kill_at {n}")
        n_kills += exit_code(process) == -signal.SIGKILL
    assert n_kills == 6
    assert finish(tmp_path) == uninterrupted[0]


@posix
@pytest.mark.alone
@pytest.mark.parametrize(
    "params",
    [{}, {"lr_schedule": "cosine", "optimizer": "sgd", "checkpoint_every": 2}],
    ids=str,
)
def test_run_killed_at_random_times_ends_with_the_same_bits(params, tmp_path):
    """From outside, by the clock."""
    for name in ("first", "reference"):  # the first one waits for imports as well
        (tmp_path / name).mkdir()
        begin = time.perf_counter()
        expected = finish(tmp_path / name, **params)
        seconds = time.perf_counter() - begin
    moments, n_kills = random.Random(1), 0
    for k in range(6):
        folder = tmp_path / str(k)
        folder.mkdir()
        for _ in range(2):
            process = start(folder / "run", folder / "result", **params)
            time.sleep(moments.uniform(0.2, 1.0) * seconds)
            process.kill()
            n_kills += exit_code(process) == -signal.SIGKILL
        assert finish(folder, **params) == expected
    assert n_kills > 0


@posix
@pytest.mark.parametrize("batch", [1, 3, 5, 9])
def test_sigterm_ends_a_process_with_its_status(uninterrupted, batch, tmp_path):
    """As if it had not been waited for; and the run goes on after that batch."""
    task = f"raise_at {int(signal.SIGTERM)} {batch}"
    process = start(tmp_path / "run", tmp_path / "result", task)
    assert exit_code(process) == -signal.SIGTERM
    newest = checkpoints_in(tmp_path / "run")[-1]
    n_epochs, n_batches = divmod(batch, 3)
    if (
        n_batches == 0
    ):  # saved at the end of the batch, which is before that of an epoch
        n_epochs, n_batches = n_epochs - 1, 3
    assert newest == f"{n_epochs:06d}-{n_batches:08d}.ckpt"
    assert finish(tmp_path) == uninterrupted[0]


@posix
def test_sigterm_from_outside_is_saved(uninterrupted, tmp_path):
    """Wherever the process is; here among slow batches."""
    process = start(tmp_path / "run", tmp_path / "result", "slowly 0.3")
    while not checkpoints_in(tmp_path / "run"):
        time.sleep(0.01)
        assert process.is_alive()
    process.terminate()
    assert exit_code(process) == -signal.SIGTERM
    assert not checkpoints_in(tmp_path / "run")[-1].endswith("-00000000.ckpt")
    assert finish(tmp_path) == uninterrupted[0]


@posix
def test_ctrl_c_in_a_process_is_keyboard_interrupt(uninterrupted, tmp_path):
    """As without checkpoints; and the run goes on."""
    task = f"raise_at {int(signal.SIGINT)} 4"
    process = start(tmp_path / "run", tmp_path / "result", task)
    assert exit_code(process) == STOPPED
    assert finish(tmp_path) == uninterrupted[0]
