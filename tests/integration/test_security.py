"""The secured broker of compose/secure.yaml: who is refused what, and certificates that change under load.

Refusals are shown to an independent client where it is about the broker, to ours where it is about what ours says.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ConfigSource,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)
from cryptography.hazmat.primitives import serialization

from compose.control.secured import trusting, wait_until_served
from compose.local.broker import answers
from compose.security.authority import issue, make_authority
from compose.security.folder import ADMIN, BROKER_ID, identity_in
from services.topics.access import rules
from services.topics.settings import TopicsSettings
from shared.errors import AccessDenied, BrokerUnavailable, PipelineError
from shared.kafka.access import ensure_rules
from shared.kafka.certificates import reload_certificates
from shared.kafka.groups import end_offsets
from shared.kafka.log_reader import LogReader, Place, open_log_reader
from shared.kafka.rules import Operation, Resource, Rule
from shared.kafka.topics import TopicSpec, ensure_topic, max_message_bytes
from shared.kafka.transactions import TransactionalPublisher
from shared.runtime.settings import KafkaSettings
from tests.integration.conftest import DEADLINE_S
from tests.integration.consumer_driver import Replica, running, until, value
from tests.integration.producer_driver import Site, append, audit, line, read_topic
from tests.integration.secured_broker import (
    ALONE,
    BY_CERTIFICATE,
    COPIES,
    OTHER_PASSWORD,
    TOPICS,
    SecuredBroker,
    running_secured,
)
from tests.repository import Repository

pytestmark = pytest.mark.xdist_group("security")

ANSWER_TIMEOUT_S = 30.0
WRITE_INTERVAL_S = 0.02
LINES_A_WRITE = 20


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SecuredBroker]:
    with running_secured(tmp_path_factory.mktemp("secured")) as started:
        yield started


def settings_of(secured: SecuredBroker, principal: str, **changed: Any) -> KafkaSettings:
    given = {name.lower(): text for name, text in secured.settings(principal).items()}
    return KafkaSettings(service_name="test", **{**given, **changed})


NO_LOGIN = {"kafka_sasl_mechanism": None, "kafka_sasl_username": None, "kafka_sasl_password_file": None}
AT_THE_DOOR: dict[str, tuple[Callable[[SecuredBroker], dict[str, Any]], type[PipelineError], str]] = {
    "a plain connection": (
        lambda _secured: {**NO_LOGIN, "kafka_security_protocol": "PLAINTEXT", "kafka_ssl_ca_file": None},
        BrokerUnavailable,
        "KAFKA_SECURITY_PROTOCOL=PLAINTEXT is wrong",
    ),
    "a password in the clear": (
        lambda _secured: {"kafka_security_protocol": "SASL_PLAINTEXT", "kafka_ssl_ca_file": None},
        BrokerUnavailable,
        "KAFKA_SECURITY_PROTOCOL=SASL_PLAINTEXT is wrong",
    ),
    "nobody's name": (
        lambda _secured: {**NO_LOGIN, "kafka_security_protocol": "SSL"},
        BrokerUnavailable,
        "KAFKA_SECURITY_PROTOCOL=SSL is wrong",
    ),
    "another one's password": (
        lambda secured: {"kafka_sasl_password_file": secured.folder.client("archiver") / "password"},
        AccessDenied,
        "invalid credentials",
    ),
    "an unknown name": (lambda _secured: {"kafka_sasl_username": "stranger"}, AccessDenied, "invalid credentials"),
    "a mechanism that shows the password": (
        lambda _secured: {"kafka_sasl_mechanism": "PLAIN"},
        AccessDenied,
        "UnsupportedSaslMechanism",
    ),
    "an authority that is not ours": (
        lambda _secured: {"kafka_ssl_ca_file": None},
        AccessDenied,
        "CERTIFICATE_VERIFY_FAILED",
    ),
    "a host that the certificate does not name": (
        lambda secured: {"kafka_bootstrap_servers": f"127.1:{secured.broker.ports.kafka}"},
        AccessDenied,
        "Hostname mismatch",
    ),
}


@pytest.mark.parametrize("case", AT_THE_DOOR)
async def test_who_does_not_come_properly_is_not_let_in(secured: SecuredBroker, case: str) -> None:
    changed, kind, said = AT_THE_DOOR[case]
    with pytest.raises(kind, match=said):
        await max_message_bytes(settings_of(secured, "consumer", **changed(secured)), [TOPICS.records])


async def test_a_host_name_is_checked_unless_that_is_switched_off(secured: SecuredBroker) -> None:
    """The counterpart: nothing else is wrong with that address."""
    by_another_name = f"127.1:{secured.broker.ports.kafka}"
    settings = settings_of(secured, "consumer", kafka_bootstrap_servers=by_another_name, kafka_ssl_check_hostname=False)
    assert await max_message_bytes(settings, [TOPICS.records])


def test_brokers_and_controllers_are_spoken_to_with_a_certificate_of_ours_only(
    secured: SecuredBroker, tmp_path: Path
) -> None:
    """Neither in the clear, nor without a certificate, nor with one that another authority signed."""
    now = datetime.now(UTC)
    stranger = issue(make_authority("another", now), "kafka", ("127.0.0.1",), now)
    (tmp_path / "stranger.pem").write_text(stranger.key + stranger.certificate)
    foreign, ours = trusting(secured.folder), trusting(secured.folder)
    foreign.load_cert_chain(tmp_path / "stranger.pem")
    ours.load_cert_chain(secured.folder.keystore)
    for port in (secured.brokers_port, secured.broker.ports.controller):
        refused = [answers(port), answers(port, trusting(secured.folder)), answers(port, foreign)]
        assert (refused, answers(port, ours)) == ([False, False, False], True)


# A Kafka of one's own

OTHER_WAYS = {
    "a password shown over encryption": ("PASSWORD", "SASL_SSL", "PLAIN"),
    "a password proven over encryption": ("PASSWORD", "SASL_SSL", "SCRAM-SHA-256"),
    "a password shown in the clear": ("CLEAR", "SASL_PLAINTEXT", "PLAIN"),
}


@pytest.mark.parametrize("way", OTHER_WAYS)
async def test_a_kafka_of_ones_own_is_logged_in_to(secured: SecuredBroker, tmp_path: Path, way: str) -> None:
    """What is asked for, only a principal with rights is told."""
    door, protocol, mechanism = OTHER_WAYS[way]
    (tmp_path / "password").write_text(OTHER_PASSWORD + "\n")
    trust = secured.folder.client("consumer") / "ca.pem"
    settings = settings_of(
        secured,
        "consumer",
        kafka_bootstrap_servers=f"127.0.0.1:{secured.other_ports[door]}",
        kafka_security_protocol=protocol,
        kafka_sasl_mechanism=mechanism,
        kafka_sasl_password_file=tmp_path / "password",
        kafka_ssl_ca_file=None if door == "CLEAR" else trust,
    )
    assert await first_offset(settings) == 0


async def test_a_kafka_of_ones_own_is_shown_a_certificate(secured: SecuredBroker, tmp_path: Path) -> None:
    """With a locked key. Without the certificate nobody is let in, and it is said why."""
    authority = identity_in(secured.folder.authority_file)
    mine = issue(authority, BY_CERTIFICATE, ("localhost",), datetime.now(UTC))
    locked = serialization.load_pem_private_key(mine.key.encode(), None).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(OTHER_PASSWORD.encode()),
    )
    (tmp_path / "certificate.pem").write_text(mine.certificate)
    (tmp_path / "key.pem").write_bytes(locked)
    (tmp_path / "password").write_text(OTHER_PASSWORD)
    bare = {
        **NO_LOGIN,
        "kafka_bootstrap_servers": f"127.0.0.1:{secured.other_ports['CERTIFICATE']}",
        "kafka_security_protocol": "SSL",
    }
    files = {
        "kafka_ssl_certificate_file": tmp_path / "certificate.pem",
        "kafka_ssl_key_file": tmp_path / "key.pem",
        "kafka_ssl_key_password_file": tmp_path / "password",
    }
    assert await first_offset(settings_of(secured, "consumer", **bare, **files)) == 0
    with pytest.raises(PipelineError, match=r"ALERT|closes the connection"):
        await first_offset(settings_of(secured, "consumer", **bare))


def documented_rights() -> list[Rule]:
    """Those of docs/security.md for one name that all services of the stack log in with, and the make verbs."""
    given = {
        "kafka_acl_producers": "producer",
        "kafka_acl_consumers": "consumer,archiver,fanout-group-1",
        "kafka_acl_tools": "toolbox",
    }
    table = [rule._replace(principal=f"User:{ALONE}") for rule in rules(TopicsSettings.model_validate(given))]
    return list(dict.fromkeys(table))


async def test_a_stack_runs_on_a_kafka_of_ones_own_with_the_rights_of_the_table(
    secured: SecuredBroker, tmp_path: Path
) -> None:
    """By settings and a folder of files, as one types them; topics are there, and no more is allowed than needed."""
    await ensure_rules(settings_of(secured, ADMIN), documented_rights())
    files = tmp_path / "files"
    files.mkdir()
    (files / "password").write_text(OTHER_PASSWORD + "\n")
    shutil.copy(secured.folder.truststore, files / "ca.pem")
    variables = {
        "MODE": "local",
        "YES": "1",
        "LINES": "300",
        "DEMO_REPLICAS": "0",
        "KAFKA_TOPIC_PARTITIONS": str(TOPICS.partition_count),
    }
    login = {
        "KAFKA_BOOTSTRAP_SERVERS": f"127.0.0.1:{secured.other_ports['PASSWORD']}",
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SASL_MECHANISM": "SCRAM-SHA-256",
        "KAFKA_SASL_USERNAME": ALONE,
        "KAFKA_SASL_PASSWORD_FILE": "/run/kafka-client/password",
        "KAFKA_SSL_CA_FILE": "/run/kafka-client/ca.pem",
        "KAFKA_CLIENT_DIR": str(files),
    }
    repository = Repository.copied_to(tmp_path / "copy", variables)
    try:
        repository.succeeds("up", **login)
        assert "Every line is in the topic, and every group got every record." in repository.succeeds("verify")
        assert "Kafka: external" in repository.succeeds("status")
        assert "archiver: " in repository.succeeds("groups")
        assert "goes on from there" in repository.succeeds("reset-group", GROUP="fanout-group-1", TO="earliest")
    finally:
        repository.verb("clean")


async def first_offset(settings: KafkaSettings) -> int:
    place = Place(TOPICS.records, 0)
    async with open_log_reader(settings) as reader:
        return (await reader.first_offsets([place]))[place]


# What the rules refuse


def produce(secured: SecuredBroker, principal: str, topic: str) -> None:
    """Raises what the broker says."""
    failures: list[KafkaError] = []
    producer = Producer(secured.client(principal))
    producer.produce(topic, b"x", on_delivery=lambda error, _message: failures.append(error) if error else None)
    assert producer.flush(ANSWER_TIMEOUT_S) == 0
    for failure in failures:
        raise KafkaException(failure)


def consume(secured: SecuredBroker, principal: str, group: str, topic: str) -> None:
    """Raises what the broker says; returns when the group has given out partitions."""
    assigned: list[object] = []
    consumer = Consumer({**secured.client(principal), "group.id": group})
    consumer.subscribe([topic], on_assign=lambda _consumer, places: assigned.append(places))
    give_up_at = time.monotonic() + ANSWER_TIMEOUT_S
    try:
        while not assigned:
            assert time.monotonic() < give_up_at, "neither refused nor let in"
            message = consumer.poll(0.2)
            if message is not None and message.error():
                raise KafkaException(message.error())
    finally:
        consumer.close()


def read(secured: SecuredBroker, principal: str, topic: str) -> None:
    """Without joining a group, so that the topic's rule decides; its coordinator is looked for all the same. Raises
    what the broker says; returns at the end.
    """
    consumer = Consumer({**secured.client(principal), "group.id": principal, "enable.partition.eof": True})
    consumer.assign([TopicPartition(topic, 0, OFFSET_BEGINNING)])
    give_up_at = time.monotonic() + ANSWER_TIMEOUT_S
    try:
        while True:
            assert time.monotonic() < give_up_at, "neither refused nor let in"
            message = consumer.poll(0.2)
            error = message.error() if message is not None else None
            if error is not None and error.code() == KafkaError._PARTITION_EOF:
                return
            if error is not None:
                raise KafkaException(error)
    finally:
        consumer.close()


def begin_transactions(secured: SecuredBroker, principal: str, transactional_id: str) -> None:
    Producer({**secured.client(principal), "transactional.id": transactional_id}).init_transactions(ANSWER_TIMEOUT_S)


def make_topic(secured: SecuredBroker, principal: str) -> None:
    admin = AdminClient(secured.client(principal))  # the answers of a client that is gone never come
    [made] = admin.create_topics([NewTopic("mine", 1, 1)]).values()
    made.result(ANSWER_TIMEOUT_S)


def grant(secured: SecuredBroker, principal: str) -> None:
    rule = AclBinding(
        ResourceType.TOPIC,
        TOPICS.records,
        ResourcePatternType.LITERAL,
        f"User:{principal}",
        "*",
        AclOperation.WRITE,
        AclPermissionType.ALLOW,
    )
    admin = AdminClient(secured.client(principal))
    [made] = admin.create_acls([rule]).values()
    made.result(ANSWER_TIMEOUT_S)


FOREIGN_ID = "producer@web-1"
REFUSED: dict[str, tuple[Callable[[SecuredBroker], None], str]] = {
    "a consumer writes records": (
        lambda secured: produce(secured, "consumer", TOPICS.records),
        "TOPIC_AUTHORIZATION_FAILED",
    ),
    "a consumer reads as another group": (
        lambda secured: consume(secured, "consumer", "archiver", TOPICS.records),
        "GROUP_AUTHORIZATION_FAILED",
    ),
    "a consumer reads the producers' state": (
        lambda secured: consume(secured, "consumer", "consumer", TOPICS.state),
        "TOPIC_AUTHORIZATION_FAILED",
    ),
    "a consumer reads dead letters": (
        lambda secured: read(secured, "consumer", TOPICS.dead_letters),
        "TOPIC_AUTHORIZATION_FAILED",
    ),
    "a consumer takes the producer's name for transactions": (
        lambda secured: begin_transactions(secured, "consumer", FOREIGN_ID),
        "TRANSACTIONAL_ID_AUTHORIZATION_FAILED",
    ),
    "a consumer makes a topic": (lambda secured: make_topic(secured, "consumer"), "TOPIC_AUTHORIZATION_FAILED"),
    "a consumer gives itself rights": (lambda secured: grant(secured, "consumer"), "CLUSTER_AUTHORIZATION_FAILED"),
    "the producer reads as a group": (
        lambda secured: consume(secured, "producer", "producer", TOPICS.records),
        "GROUP_AUTHORIZATION_FAILED",
    ),
    "the producer writes elsewhere": (
        lambda secured: produce(secured, "producer", COPIES),
        "TOPIC_AUTHORIZATION_FAILED",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_no_rule_allows_is_refused(secured: SecuredBroker, case: str) -> None:
    attempt, code = REFUSED[case]
    with pytest.raises(KafkaException) as refused:
        attempt(secured)
    assert refused.value.args[0].name() == code


def test_the_same_is_let_in_where_a_rule_allows_it(secured: SecuredBroker) -> None:
    """Else the refusals would show nothing but a mistake of the test."""
    consume(secured, "consumer", "consumer", TOPICS.records)
    produce(secured, "consumer", TOPICS.dead_letters)
    begin_transactions(secured, "producer", FOREIGN_ID)
    read(secured, "consumer", TOPICS.records)


async def test_the_toolbox_reads_dead_letters_and_no_records(secured: SecuredBroker) -> None:
    """It has the right to no group, without which the independent client reads nothing."""
    publish_as_admin(secured, 1)
    produce(secured, "consumer", TOPICS.dead_letters)
    async with open_log_reader(settings_of(secured, "toolbox")) as reader:
        assert await read_all(reader, TOPICS.dead_letters)
        with pytest.raises(AccessDenied, match="TopicAuthorizationFailed"):
            await read_all(reader, TOPICS.records)


async def read_all(reader: LogReader, topic: str) -> int:
    places = [Place(topic, number) for number in range(TOPICS.partition_count)]
    starts, ends = await reader.first_offsets(places), await reader.end_offsets(places)
    return sum([len(batch.records) async for batch in reader.read(starts, ends)])


async def test_a_topic_that_is_hidden_is_not_taken_for_a_missing_one(secured: SecuredBroker) -> None:
    """It would be waited for without end. What there is not is still waited for."""
    settings = settings_of(secured, "consumer")
    with pytest.raises(AccessDenied, match="looking for copies"):
        async with open_log_reader(settings) as reader:
            await reader.has_topic(COPIES)
    with pytest.raises(AccessDenied, match="reading the partitions of copies"):
        await end_offsets(settings, COPIES)
    admin = settings_of(secured, ADMIN)
    async with open_log_reader(admin) as reader:
        assert not await reader.has_topic("nothing")
    assert await end_offsets(admin, "nothing") == {}


async def test_topics_that_exist_need_no_right_to_make_them(secured: SecuredBroker) -> None:
    """The broker asks for that right before it looks whether there is anything to make."""
    settings = settings_of(secured, "producer")
    found = await ensure_topic(settings, TopicSpec(TOPICS.records, TOPICS.partition_count, 1))
    assert (found.created, found.partitions_added) == (False, 0)
    with pytest.raises(AccessDenied, match=r"may not make topic nothing, .* the right CREATE"):
        await ensure_topic(settings, TopicSpec("nothing", 1, 1))


async def test_rules_of_others_about_our_topics_are_told(secured: SecuredBroker) -> None:
    """Those of a principal that is not wanted any more, too; what is wanted is made once."""
    wanted = [Rule("User:late", Resource.TOPIC, COPIES, Operation.READ)]
    settings = settings_of(secured, ADMIN)
    assert (await ensure_rules(settings, wanted)).made == 1
    again = await ensure_rules(settings, wanted)
    assert again.made == 0
    assert "User:forwarder: WRITE TOPIC copies" in again.surplus
    assert not [rule for rule in again.surplus if "nginx_logs" in rule]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"KAFKA_GROUP_ID": "archiver"}, "GroupAuthorizationFailed"),
        ({"KAFKA_SASL_USERNAME": "archiver"}, "invalid credentials"),
        ({"KAFKA_TOPIC": COPIES, "KAFKA_SSL_CHECK_HOSTNAME": "false"}, "TopicAuthorizationFailed"),
    ],
    ids=["a foreign group", "a wrong password", "a topic that is hidden from it"],
)
def test_our_service_says_what_it_was_refused_and_ends(
    secured: SecuredBroker, tmp_path: Path, settings: dict[str, str], said: str
) -> None:
    with running(secured.address, TOPICS, tmp_path) as replicas:
        replica = replicas.start("consumer", {**secured.settings("consumer"), **settings})
        until(lambda: replica.process.poll() is not None, "the consumer ends")
    [failed] = replica.events("service_failed")
    assert (replica.process.returncode, failed["error_type"]) == (1, "AccessDenied")
    assert said in failed["error"]
    assert len(replica.events("host_names_not_checked")) == ("KAFKA_SSL_CHECK_HOSTNAME" in settings)


# What works all the same


async def test_every_service_has_the_rights_that_it_needs(secured: SecuredBroker, tmp_path: Path) -> None:
    """SINK=kafka with its transactions, and the tools with theirs; producer and consumers have a test of their own."""
    publisher = await TransactionalPublisher.start(
        settings_of(secured, "toolbox"),
        f"replay-to-group-{TOPICS.dead_letters}-consumer",
        [TOPICS.records, TOPICS.dead_letters],
    )
    await publisher.close()
    publish_as_admin(secured, 50)
    with running(secured.address, TOPICS, tmp_path) as replicas:
        settings = {**secured.settings("forwarder"), "SINK": "kafka", "KAFKA_SINK_TOPIC": COPIES}
        forwarder = replicas.start("forwarder", settings)
        wanted = {value(number) for number in range(50)}
        until(
            lambda: wanted <= {found.value for found in read_topic(secured.address, COPIES, 4, secured.login(ADMIN))},
            "every record is copied",
        )
        assert forwarder.terminate() == 0


def publish_as_admin(secured: SecuredBroker, count: int) -> None:
    producer = Producer(secured.client(ADMIN))
    for number in range(count):
        producer.produce(TOPICS.records, value(number), key=b"192.0.2.1")
    assert producer.flush(ANSWER_TIMEOUT_S) == 0


class Load:
    """Lines that come all the time while the context is open."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._write)
        self.count = 0

    def _write(self) -> None:
        while not self._ended.wait(WRITE_INTERVAL_S):
            append(self._log, b"".join(line(self.count + number) for number in range(LINES_A_WRITE)))
            self.count += LINES_A_WRITE

    def end(self) -> None:
        """Returns when the last line is written."""
        self._ended.set()
        self._thread.join()

    @contextmanager
    def flowing(self) -> Iterator[None]:
        self._thread.start()
        try:
            yield
        finally:
            self.end()


def set_of_ones_own(secured: SecuredBroker, name: str, text: str) -> None:
    """What an operator has set of the broker while it runs."""
    entry = ConfigEntry(name, text, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.BROKER, str(BROKER_ID), incremental_configs=[entry])
    admin = AdminClient(secured.client(ADMIN))
    admin.incremental_alter_configs([resource])[resource].result(ANSWER_TIMEOUT_S)


def dynamic_settings(secured: SecuredBroker) -> dict[str, str]:
    resource = ConfigResource(ConfigResource.Type.BROKER, str(BROKER_ID))
    admin = AdminClient(secured.client(ADMIN))
    found = admin.describe_configs([resource])[resource].result(ANSWER_TIMEOUT_S)
    return {
        name: entry.value for name, entry in found.items() if entry.source == ConfigSource.DYNAMIC_BROKER_CONFIG.value
    }


def printed(*replicas: Replica) -> set[int]:
    paths = [found["record"]["path"] for replica in replicas for found in replica.events("record")]
    return {int(path.removeprefix("/numbered/")) for path in paths if path.startswith("/numbered/")}


async def renew(secured: SecuredBroker) -> None:
    """Returns when every door shows the new certificate."""
    secured.folder.renew()
    files = (str(secured.folder.keystore), str(secured.folder.truststore))
    await reload_certificates(settings_of(secured, ADMIN), BROKER_ID, ("HOST", "BROKER", "CONTROLLER"), *files)
    for port in (secured.broker.ports.kafka, secured.brokers_port, secured.broker.ports.controller):
        wait_until_served(secured.folder, port)


async def test_certificates_change_under_load_and_nothing_is_lost(secured: SecuredBroker, tmp_path: Path) -> None:
    """First the broker's own, while it runs: nobody is cut off. Then the authority, for which the broker is killed and
    comes back: producer and consumer, which run on, connect anew and trust what their files say by then.
    """
    site = Site(tmp_path, secured.address, TOPICS, secured.settings("producer"))
    load = Load(site.log)
    with site.producer() as producer, running(secured.address, TOPICS, tmp_path) as replicas, load.flowing():
        first = replicas.start("archiver", secured.settings("archiver"))
        until(lambda: len(printed(first)) > 500, "records flow")

        set_of_ones_own(secured, "log.cleaner.threads", "2")
        await renew(secured)
        await renew(secured)  # the same paths again: nothing but the files is new
        assert dynamic_settings(secured)["log.cleaner.threads"] == "2"
        second = replicas.start("archiver", secured.settings("archiver"))
        until(lambda: second.ready, "a new replica sees the new certificate and joins")
        mark = load.count
        until(lambda: max(printed(first, second)) > mark + 500, "records flow behind the change")
        assert not producer.events("broker_unavailable")
        assert not first.events("broker_unavailable")

        secured.folder.renew(authority=True)
        secured.broker.kill()
        secured.broker.start()
        secured.broker.tls = trusting(secured.folder)
        secured.broker.wait_until_ready(DEADLINE_S)
        mark = load.count
        until(lambda: max(printed(first, second)) > mark + 500, "records flow with the new authority")
        wait_until_served(secured.folder, secured.broker.ports.kafka)
        load.end()
        until(lambda: len(printed(first, second)) == load.count, "the group has every line")
        until(lambda: producer.events("progress")[-1]["unread_bytes"] == 0, "the producer has sent every line")
        check_surroundings(secured, producer.process.pid)
    found = read_topic(secured.address, TOPICS.records, TOPICS.partition_count, secured.login(ADMIN))
    assert audit([one for one in found if b"/numbered/" in one.value], load.count).exactly_once
    written = [*tmp_path.glob("*.log"), *tmp_path.glob("*.out"), secured.broker.log_file]
    text = "".join(file.read_text(errors="replace") for file in written)
    assert not [secret for secret in secured.folder.secrets() if secret in text]


def check_surroundings(secured: SecuredBroker, pid: int) -> None:
    """A process shows nothing to those who may look at its environment and its command line."""
    shown = "".join(Path(f"/proc/{pid}/{name}").read_text() for name in ("environ", "cmdline"))
    assert "KAFKA_SASL_USERNAME=producer" in shown
    assert not [secret for secret in secured.folder.secrets() if secret in shown]
