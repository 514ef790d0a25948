"""What is measured, beside what, and how often."""

from __future__ import annotations

from collections.abc import Sequence

from bench.consumers.confluent import ConfluentConsumer
from bench.consumers.ours import OurConsumer
from bench.consumers.plain import PlainConsumer
from bench.contender import Figure, Suite
from bench.formats.parsing import FORMATS
from bench.latency.ours import OurPair
from bench.latency.plain import PlainPair
from bench.producers.confluent import ConfluentProducer
from bench.producers.naive import NaiveProducer
from bench.producers.ours import OurProducer
from bench.producers.per_record import PerRecordProducer
from bench.sinks.confluent import ConfluentToFile
from bench.sinks.framework import FrameworkToFile
from bench.sinks.ours import OurConsumerToFile
from bench.start.services import SERVICES

_AT_LEAST_ONCE = {"DELIVERY": "at-least-once"}
_FOREIGN = Figure("foreign_cores", "cores busy with other programs", 2)


def make_suites(quick: bool) -> Sequence[Suite]:
    """The suites: all of them in about 15 minutes, or with `quick` in about 2."""
    return (
        _producers(quick),
        _exactly_once(quick),
        _formats(quick),
        _consumers(quick),
        _sinks(quick),
        _latency(quick),
        _start(quick),
    )


def _producers(quick: bool) -> Suite:
    return Suite(
        title="Producer: from a file to confirmed by the broker",
        explanation="acks=all, idempotent, zstd, 8 partitions by client address. The log appears in the followed "
        "folder at once; the clock stops when the end offsets have risen by its lines. CPU is that of the process. The "
        "model per line gets a quarter of the lines. `services.producer` delivers exactly once, its default; the "
        "others at least once.",
        contenders=(
            OurProducer(),
            ConfluentProducer(),
            PerRecordProducer(),
            NaiveProducer(),
        ),
        figures=(
            Figure("thousand_per_s", "thousand lines/s", 0, compared=True),
            Figure("cpu_us", "CPU µs/line", 2, compared=True),
            Figure("broker_cpu_us", "broker CPU µs/line", 2),
            Figure("peak_rss_mb", "peak RSS MB", 0, compared=True),
            _FOREIGN,
        ),
        size=100_000 if quick else 400_000,
        repetitions=2 if quick else 5,
        warm_up_size=20_000 if quick else 200_000,
    )


def _exactly_once(quick: bool) -> Suite:
    return Suite(
        title="What exactly once costs",
        explanation="The same producer with its default and with `DELIVERY=at-least-once`, one right after the other, "
        "many times: the machine's own moods are larger than the difference. It may cost 5 %, so a ratio of 0.95.",
        contenders=(OurProducer(), OurProducer("services.producer, at-least-once", _AT_LEAST_ONCE)),
        figures=(
            Figure("thousand_per_s", "thousand lines/s", 0, compared=True),
            Figure("cpu_us", "CPU µs/line", 2, compared=True),
            Figure("broker_cpu_us", "broker CPU µs/line", 2),
            _FOREIGN,
        ),
        size=100_000 if quick else 400_000,
        repetitions=2 if quick else 11,
        warm_up_size=20_000 if quick else 100_000,
    )


def _formats(quick: bool) -> Suite:
    return Suite(
        title="Formats: from bytes to records, without Kafka",
        explanation="The parser alone over the same requests, written in each format; CPU of the process, and the same "
        "by the bytes of the log, since a longer line holds more fields. Every line must become a record.",
        contenders=FORMATS,
        figures=(
            Figure("cpu_us", "CPU µs/line", 2, compared=True),
            Figure("cpu_ns_per_byte", "CPU ns/byte", 2, compared=True),
            Figure("fast_percent", "lines in the fast way %", 1),
            Figure("line_bytes", "bytes/line", 0),
        ),
        size=40_000 if quick else 100_000,
        repetitions=3 if quick else 9,
        warm_up_size=10_000,
    )


def _consumers(quick: bool) -> Suite:
    return Suite(
        title="Consumer: from the topic to validated models",
        explanation="A new group reads what services.producer wrote, from the beginning. The clock runs from the first "
        "records to the last, so joining the group is not in it. CPU is that of the process.",
        contenders=(OurConsumer(), ConfluentConsumer(), PlainConsumer()),
        figures=(
            Figure("thousand_per_s", "thousand records/s", 0, compared=True),
            Figure("cpu_us", "CPU µs/record", 2, compared=True),
            Figure("peak_rss_mb", "peak RSS MB", 0, compared=True),
            _FOREIGN,
        ),
        size=100_000 if quick else 400_000,
        repetitions=2 if quick else 5,
        warm_up_size=20_000 if quick else 100_000,
    )


def _sinks(quick: bool) -> Suite:
    return Suite(
        title="Consumer with a sink: from the topic to a file, one replica",
        explanation="Every contender validates with the same model, appends the same line per record to a file, and "
        "commits afterwards: ours and confluent-kafka once a second, FastStream as it does with "
        "`AckPolicy.NACK_ON_ERROR`, one record at a time with a fortieth of the records. Ours does besides: dead "
        "letters, retries, health, metrics, lag.",
        contenders=(
            OurConsumerToFile(),
            ConfluentToFile(),
            FrameworkToFile("FastStream, batches of 1,000", batch=True),
            FrameworkToFile("FastStream, one record at a time", batch=False),
        ),
        figures=(
            Figure("thousand_per_s", "thousand records/s", 1, compared=True),
            Figure("cpu_us", "CPU µs/record", 2, compared=True),
            Figure("peak_rss_mb", "peak RSS MB", 0, compared=True),
            _FOREIGN,
        ),
        size=20_000 if quick else 400_000,
        repetitions=2 if quick else 5,
        warm_up_size=10_000,
    )


def _latency(quick: bool) -> Suite:
    return Suite(
        title="Latency: from a line that is due to the handler that has its record, 1,000 lines/s",
        explanation="Each line is a write of its own and carries the moment at which it was due, so that a writer that "
        "was held up counts as delay. The hand-written tail looks every 10 ms when it has read all. "
        "Then both processes have nothing to do for 10 s: idle CPU, and RSS at its end.",
        contenders=(
            OurPair(),
            OurPair("services.producer, at-least-once → services.consumer", _AT_LEAST_ONCE),
            PlainPair(),
        ),
        figures=(
            Figure("p50_ms", "p50 ms", 1, compared=True),
            Figure("p99_ms", "p99 ms", 1, compared=True),
            Figure("max_ms", "max ms", 0),
            Figure("producer_cpu_us", "producer CPU µs/line", 0),
            Figure("consumer_cpu_us", "consumer CPU µs/line", 0),
            Figure("producer_idle_percent", "producer idle CPU %", 1),
            Figure("consumer_idle_percent", "consumer idle CPU %", 1),
            Figure("producer_rss_mb", "producer RSS MB", 0),
            Figure("consumer_rss_mb", "consumer RSS MB", 0),
            _FOREIGN,
        ),
        size=3_000 if quick else 15_000,
        repetitions=1 if quick else 3,
        warm_up_size=0,
    )


def _start(quick: bool) -> Suite:
    return Suite(
        title="Start of each service",
        explanation="From `python -m …` to the first 200 of /readyz, the broker and the topics being there.",
        contenders=SERVICES,
        figures=(Figure("ready_after_s", "ready after s", 2), Figure("rss_mb", "RSS MB when ready", 0)),
        size=0,
        repetitions=1 if quick else 3,
        warm_up_size=0,
    )
