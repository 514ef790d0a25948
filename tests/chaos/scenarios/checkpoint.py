"""What happens to the checkpoint. The producer refuses a damaged one with its name; the answer is to move it away."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.chaos.files import Load, LogFile
from tests.chaos.mounts import mount, mount_small, unmount
from tests.chaos.scenario import Scenario
from tests.chaos.scene import Failed
from tests.chaos.stage import Stage, answer_of

LINES_PER_S = 5_000
MOUNT_TIMEOUT_S = 10.0
STATE_BYTES = 64 * 1024


def checkpoint_cut_short(stage: Stage) -> None:
    """Cut to nothing, to one byte, and at two places of the seed's choice. (A unit test cuts it at every byte.)"""
    log = _delivered_and_killed(stage)
    whole = stage.checkpoint.read_bytes()
    with stage.fault():
        log.write(500)
        lengths = sorted({0, 1, *(stage.random.randrange(len(whole)) for _cut in range(stage.repetitions(2, 1)))})
        for length in lengths:
            _start_with(stage, whole[:length], f"{length} of {len(whole)} bytes")
    log.write(500)


def checkpoint_of_zeros(stage: Stage) -> None:
    """As long as before, and nothing but zeros: what some file systems leave behind."""
    log = _delivered_and_killed(stage)
    with stage.fault():
        log.write(500)
        _start_with(stage, bytes(stage.checkpoint.stat().st_size), "zeros")
    log.write(500)


def checkpoint_of_garbage(stage: Stage) -> None:
    """Valid JSON that is no checkpoint, and random bytes."""
    log = _delivered_and_killed(stage)
    with stage.fault():
        log.write(500)
        _start_with(stage, b'{"version": 1, "files": [{"position": -1}]}', "JSON that is none")
        _start_with(stage, stage.random.randbytes(1_000), "random bytes")
    log.write(500)


def _start_with(stage: Stage, content: bytes, what: str) -> None:
    """A producer on this checkpoint refuses it by name, and starts when it is moved away; or it goes on without it."""
    for running in stage.running():
        stage.kill(running)
    stage.checkpoint.write_bytes(content)
    producer = stage.start()
    stage.until(lambda: producer.process.poll() is not None or bool(producer.events("file_followed")), "an answer")
    code = producer.process.poll()
    if code is None:
        stage.observe(f"a checkpoint of {what} was not needed")
    else:
        answer = answer_of(producer)
        if code == 0 or "CHECKPOINT_FILE" not in answer:
            raise Failed(f"a checkpoint of {what}: ended with {code} and {answer}")
        stage.observe(f"a checkpoint of {what} was refused by name with exit code {code}")
        stage.checkpoint.unlink()
        stage.start()
    size = sum(path.stat().st_size for path in stage.logs.iterdir())
    stage.until(lambda: _position(stage) == size, "a new checkpoint of all lines")


def stale_temporary_file(stage: Stage) -> None:
    """A kill while the checkpoint is written leaves a half-written file beside it."""
    log = _delivered_and_killed(stage)
    with stage.fault():
        log.write(500)
        leftover = stage.checkpoint.with_name(stage.checkpoint.name + ".new")
        leftover.write_bytes(stage.checkpoint.read_bytes()[:100])
        stage.start()
        stage.until_drained()
        stage.require(not leftover.exists(), "the half-written file was there and was replaced")
    log.write(500)


def offset_beyond_the_file(stage: Stage) -> None:
    """The machine crashed and the file lost its end, which was already delivered; the checkpoint did not."""
    log = _delivered_and_killed(stage)
    with stage.fault():
        kept = 400
        log.cut(stage.journal.end_of(kept - 1))
        stage.excuse_doubled(range(kept), "read again, as a file that was cut is another one")
        log.write(200)
        position = max(file["position"] for file in json.loads(stage.checkpoint.read_bytes())["files"])
        stage.require(position > log.path.stat().st_size, f"byte {position:,} of {log.path.stat().st_size:,} is next")
        stage.start()
        stage.until_drained()
    log.write(500)


def disk_full(stage: Stage) -> None:
    """The checkpoint's disk has no byte left; lines flow on, it is told once, and a kill loses nothing."""
    state = _own_file_system(stage)
    filler = state / "filler"
    _fail_to_save(stage, lambda: _fill(filler), filler.unlink)


def read_only(stage: Stage) -> None:
    """The checkpoint's folder turns read-only, as after an error of the disk: a read-only mount is laid over it."""
    state = str(stage.checkpoint.parent)

    def spoil() -> None:
        mount("--bind", state, state)
        mount("-o", "remount,bind,ro", state)

    stage.undo.callback(unmount, Path(state))
    _fail_to_save(stage, spoil, lambda: unmount(Path(state)))


def _fail_to_save(stage: Stage, spoil: Callable[[], None], mend: Callable[[], object]) -> None:
    with Load(stage.log(), LINES_PER_S):
        producer = stage.start()
        stage.until_arrived(500)
        stage.until(stage.checkpoint.exists, "a checkpoint")
        with stage.fault():
            spoil()
            stage.until_event(producer, "checkpoint_failed")
            told = producer.events("checkpoint_failed")
            stage.until_arrived(2 * LINES_PER_S)
            stage.observe(f"saving failed ({told[0]['error']}) and lines went on")
            mend()
            stage.until_event(producer, "checkpoint_recovered")
            spoil()
            stage.until_event(producer, "checkpoint_failed", 2)
            stage.until_arrived(LINES_PER_S)
            stage.kill(producer)
            mend()
            stage.start()
            stage.until_arrived(500)
        stage.until_written(1_000)


def _own_file_system(stage: Stage) -> Path:
    state = stage.checkpoint.parent
    state.mkdir()
    mount_small(state, STATE_BYTES)
    stage.undo.callback(unmount, state)
    return state


def _fill(path: Path) -> None:
    """Write until nothing more fits."""
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 512)
        except OSError:
            return  # full, as wanted


def _delivered_and_killed(stage: Stage) -> LogFile:
    """1,000 lines are in the topic, the checkpoint says so, and nothing runs."""
    log = stage.log()
    log.write(1_000)
    producer = stage.start()
    stage.until_drained()
    size = log.path.stat().st_size
    stage.until(lambda: _position(stage) == size, "a checkpoint of all lines")
    stage.kill(producer)
    return log


def _position(stage: Stage) -> int:
    """Of the checkpoint; 0 while there is none that can be read."""
    try:
        return sum(file["position"] for file in json.loads(stage.checkpoint.read_bytes())["files"])
    except (FileNotFoundError, ValueError):
        return 0


SCENARIOS = (
    Scenario("truncated", checkpoint_cut_short),
    Scenario("zero-filled", checkpoint_of_zeros),
    Scenario("bad JSON", checkpoint_of_garbage),
    Scenario("stale temporary file", stale_temporary_file),
    Scenario("offset beyond the file's size", offset_beyond_the_file),
    Scenario("disk full", disk_full),
    Scenario("read-only", read_only),
)
