"""What every container of the stack is held to, read from the compose files; no engine is needed."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic_settings import BaseSettings

from compose.control.flavours import FLAVOURS, Flavour, host_port, known_of, volumes_of
from services.consumer.settings import ConsumerSettings
from services.producer.settings import ProducerSettings
from services.topics.settings import TopicsSettings

ROOT = Path(__file__).parents[3]
OVERLAY = ROOT / "compose" / "secure.yaml"
FILES = sorted(set((ROOT / "compose").glob("*.yaml")) - {OVERLAY})
BROKERS = ROOT / "compose" / "brokers"
BASE = yaml.safe_load((BROKERS / "base.yaml").read_text())["services"]
OUR_IMAGE = "${PIPELINE_IMAGE:-nginx-kafka-pipeline:local}"
ONE_SHOTS = {"topics", "toolbox"}
UNITS_S = {"s": 1, "m": 60}

Service = dict[str, Any]


def extended(service: Service) -> Service:
    """The service with what it extends, as Compose merges it."""
    if "extends" not in service:
        return service
    base = extended(BASE[service["extends"]["service"]])
    merged = {**base, **{name: value for name, value in service.items() if name != "extends"}}
    for name in ("environment", "healthcheck"):
        merged[name] = {**base.get(name, {}), **service.get(name, {})}
    return merged


def read_services(*files: Path) -> dict[str, Service]:
    services: dict[str, Service] = {}
    for file in files:
        services.update(yaml.safe_load(file.read_text())["services"])
    return {name: extended(service) for name, service in services.items()}


def kafka_of(flavour: str) -> dict[str, Service]:
    """What runs for a flavour."""
    return read_services(BROKERS / f"{flavour}.yaml")


STARTED = [flavour for flavour in FLAVOURS.values() if flavour.brokers]
# The default stack, and what the other flavours have instead of its broker.
SERVICES = read_services(BROKERS / "kraft.yaml", *FILES)
SERVICES |= {f"{name} ({each.name})": one for each in STARTED[1:] for name, one in kafka_of(each.name).items()}
OURS = sorted(name for name, service in SERVICES.items() if service["image"] == OUR_IMAGE)
KAFKA_CLIENTS = sorted(name for name in OURS if "KAFKA_BOOTSTRAP_SERVERS" in SERVICES[name]["environment"])
SCALING = sorted(name for name, service in SERVICES.items() if "services.consumer" in service.get("command", []))
every_service = pytest.mark.parametrize("name", sorted(SERVICES))
every_service_of_ours = pytest.mark.parametrize("name", OURS)


@pytest.mark.parametrize("file", [*FILES, OVERLAY, *sorted(BROKERS.glob("*.yaml"))], ids=lambda file: file.name)
def test_no_key_stands_twice(file: Path) -> None:
    """Docker Compose refuses such a file; the reader of the local mode takes the last one."""

    def check(node: yaml.Node) -> None:
        if isinstance(node, yaml.MappingNode):
            keys = [key.value for key, _value in node.value if key.value != "<<"]
            assert len(keys) == len(set(keys)), f"line {node.start_mark.line + 1}: {keys}"
            for _key, value in node.value:
                check(value)

    document = yaml.compose(file.read_text())
    assert document is not None
    check(document)


def to_seconds(duration: str) -> int:
    return int(duration[:-1]) * UNITS_S[duration[-1]]


def test_root_file_includes_every_file() -> None:
    """A file that is not included is a service that `docker compose up` does not know."""
    first, *included = yaml.safe_load((ROOT / "compose.yaml").read_text())["include"]
    assert first["path"] == "compose/brokers/${KAFKA:-kraft}.yaml"
    assert sorted(entry["path"] for entry in included) == [f"compose/{file.name}" for file in FILES]
    assert {entry["project_directory"] for entry in (first, *included)} == {"."}


def test_the_table_of_flavours_names_what_their_files_run() -> None:
    """Each has its containers and what the other services must know of it; no volume belongs to two."""
    known = {path.stem for path in BROKERS.glob("*.env")}
    assert known == FLAVOURS.keys() == {path.stem for path in BROKERS.glob("*.yaml")} - {"base"}
    for each in STARTED:
        assert kafka_of(each.name).keys() == set(each.processes)
    volumes = [name for each in FLAVOURS.values() for name in volumes_of(ROOT, each)]
    assert len(volumes) == len(set(volumes))


def test_a_cluster_of_yours_starts_no_broker() -> None:
    """The name `kafka`, which the services wait for, has no container then."""
    assert kafka_of("external")["kafka"]["deploy"] == {"replicas": 0}


def test_only_a_cluster_of_yours_has_to_be_named() -> None:
    """Compose ends at once without it, where it would wait for ever; for the others nothing has to be said."""
    wanting = {file.name for file in (ROOT / "compose").glob("**/*.yaml") if ":?" in file.read_text()}
    assert wanting == {"external.yaml"}
    assert "${KAFKA_BOOTSTRAP_SERVERS:?" in (ROOT / "compose" / "brokers" / "external.yaml").read_text()


@pytest.mark.parametrize("flavour", STARTED, ids=lambda each: each.name)
def test_every_flavour_has_the_same_doors(flavour: Flavour) -> None:
    """Inside NAME:9092, on this machine 127.0.0.1 and the port of its variable; no door of another name."""
    for name in flavour.brokers:
        service = kafka_of(flavour.name)[name]
        prefix = "KAFKA_CFG_" if "KAFKA_CFG_LISTENERS" in service["environment"] else "KAFKA_"
        variable, default = host_port(name, 29092)
        host = f"127.0.0.1:${{{variable}:-{default}}}"
        advertised = service["environment"][f"{prefix}ADVERTISED_LISTENERS"]
        assert advertised == f"INTERNAL://{name}:9092,HOST://{host}"
        assert service["ports"] == [f"{host}:29092"]


def test_only_its_broker_reaches_zookeeper() -> None:
    for each in STARTED:
        if each.beside:
            assert kafka_of(each.name)["zookeeper"]["networks"] == ["zookeeper"]
            document = yaml.safe_load((BROKERS / f"{each.name}.yaml").read_text())
            assert document["networks"] == {"zookeeper": {"internal": True}}


def test_three_brokers_hold_three_copies_in_three_racks() -> None:
    """Of Kafka's own topics too; and the topics service is told."""
    cluster = kafka_of("cluster")
    assert len({one["environment"]["KAFKA_BROKER_RACK"] for one in cluster.values()}) == 3
    for one in cluster.values():
        copies = {name: value for name, value in one["environment"].items() if name.endswith("_REPLICATION_FACTOR")}
        assert len(copies) == 4
        assert set(copies.values()) == {3}
        assert one["environment"]["KAFKA_MIN_INSYNC_REPLICAS"] == 2
        assert one["environment"]["KAFKA_TRANSACTION_STATE_LOG_MIN_ISR"] == 2
    known = known_of(ROOT, FLAVOURS["cluster"])
    servers = ",".join(f"{name}:9092" for name in FLAVOURS["cluster"].brokers)
    assert known == {
        "KAFKA_BOOTSTRAP_SERVERS": servers,
        "KAFKA_TOPIC_REPLICATION_FACTOR": "3",
        "KAFKA_TOPIC_MIN_INSYNC_REPLICAS": "2",
    }


def test_both_default_groups_and_the_producer_are_there() -> None:
    """The names are part of what the local mode and the documentation share."""
    default = {name for name, service in SERVICES.items() if not service.get("profiles") and "(" not in name}
    assert default == {"kafka", "topics", "nginx", "visitor", "producer", "consumer", "archiver"}


@every_service_of_ours
def test_service_name_is_the_key(name: str) -> None:
    """The group id is made of it: one wrong copy would turn fanout into load balancing."""
    assert SERVICES[name]["environment"]["SERVICE_NAME"] == name
    assert "KAFKA_GROUP_ID" not in SERVICES[name]["environment"]


# One value for all groups, or for all replicas of the local mode, would be wrong.
NOT_PASSED_ON = {"KAFKA_GROUP_ID"}
OF_ONE_SINK = {"SINK", "HANDLER", "TRANSFORM", "KAFKA_SINK_BUFFER_BYTES"} | {
    field.upper() for field in ConsumerSettings.model_fields if field.startswith(("alerts_", "archive_", "postgres_"))
}


@pytest.mark.parametrize(
    ("name", "kind"),
    [("producer", ProducerSettings), ("topics", TopicsSettings), *((name, ConsumerSettings) for name in SCALING)],
)
def test_every_setting_can_be_set_from_outside(name: str, kind: type[BaseSettings]) -> None:
    """Else a variable that docs/settings.md names would be ignored without a word. SOURCE_HOST is the host's name."""
    settings = {field.upper() for field in kind.model_fields} - NOT_PASSED_ON - OF_ONE_SINK - {"SOURCE_HOST"}
    assert settings <= SERVICES[name]["environment"].keys()


@pytest.mark.parametrize("name", SCALING)
def test_consumers_scale(name: str) -> None:
    """Neither a fixed name nor a port of the host stands in the way of --scale."""
    assert "ports" not in SERVICES[name]
    assert "replicas" in SERVICES[name]["deploy"]
    assert all(mount.endswith(":ro") or name in {"archiver", "alerts"} for mount in SERVICES[name].get("volumes", []))


@every_service
def test_no_container_has_a_fixed_name(name: str) -> None:
    assert "container_name" not in SERVICES[name]


@every_service
def test_ports_are_loopback_and_changeable(name: str) -> None:
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("127.0.0.1:${"), port


@every_service
def test_every_container_is_confined(name: str) -> None:
    service = SERVICES[name]
    assert service["init"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["mem_limit"]
    assert service["pids_limit"]
    assert service["logging"]["options"].keys() == {"max-size", "max-file"}
    assert "privileged" not in service


@every_service_of_ours
def test_our_containers_write_nowhere_but_to_their_volumes(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert [mount.split(":")[0] for mount in service["tmpfs"]] == ["/tmp"]
    assert not service.get("cap_add")
    assert "user" not in service, "the image's own numeric user holds"


@every_service
def test_every_container_has_a_health_check(name: str) -> None:
    """A one-shot is done or it is not: its exit code is its health."""
    check = SERVICES[name]["healthcheck"]
    if name in ONE_SHOTS:
        assert check == {"disable": True}
        assert SERVICES[name]["restart"] == "no"
    else:
        assert check["test"][0] in {"CMD", "CMD-SHELL"}
        assert SERVICES[name]["restart"] == "unless-stopped"


@pytest.mark.parametrize("name", KAFKA_CLIENTS)
def test_grace_is_longer_than_the_drain(name: str) -> None:
    service = SERVICES[name]
    assert to_seconds(service["stop_grace_period"]) > service["environment"]["SHUTDOWN_TIMEOUT_S"]


@pytest.mark.parametrize("name", ["producer", *SCALING])
def test_start_follows_the_topics(name: str) -> None:
    assert SERVICES[name]["depends_on"] == {
        "kafka": {"condition": "service_healthy"},
        "topics": {"condition": "service_completed_successfully"},
    }


def test_the_database_and_its_writer_share_one_secret_and_a_profile() -> None:
    """The password is in a file, never in the environment; neither runs unless it is asked for."""
    for name in ("postgres", "postgres-writer"):
        assert SERVICES[name]["profiles"] == ["postgres"]
        assert SERVICES[name]["secrets"] == ["postgres_password"]
        assert SERVICES[name]["environment"]["POSTGRES_PASSWORD_FILE"] == "/run/secrets/postgres_password"
        assert "POSTGRES_PASSWORD" not in SERVICES[name]["environment"]
    assert SERVICES["postgres"]["user"] == "999:999"
    assert SERVICES["postgres"]["read_only"] is True
    assert "ports" not in SERVICES["postgres"]


def start_of_the_database(folder: Path) -> tuple[str, str]:
    """Run its entrypoint, with a program in the place of the image's: what that found, and what was said."""
    (folder / "bin").mkdir(exist_ok=True)
    program = folder / "bin" / "docker-entrypoint.sh"
    program.write_text('#!/bin/sh\nls "$PGDATA" 2>/dev/null\nmkdir -p "$PGDATA"\ntouch "$PGDATA/PG_VERSION"\n')
    program.chmod(0o755)
    shell, option, script = SERVICES["postgres"]["entrypoint"]
    environment = {"PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "PGDATA": str(folder / "cluster")}
    done = subprocess.run(
        [shell, option, script.replace("$$", "$")], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout, done.stderr


def test_a_first_start_of_the_database_that_was_interrupted_begins_anew(tmp_path: Path) -> None:
    """The image would take what it finds for a whole database. What was there is kept; a whole one is left alone."""
    assert start_of_the_database(tmp_path) == ("", "")
    for _attempt in range(2):
        found, said = start_of_the_database(tmp_path)
        assert found == ""
        assert "interrupted" in said
    assert len(list(tmp_path.glob("cluster.interrupted-*/cluster/PG_VERSION"))) == 2
    script = (ROOT / "compose" / "postgres" / "prepared.sh").read_text()
    subprocess.run(["sh", "-c", script], env={**os.environ, "PGDATA": str(tmp_path / "cluster")}, check=True)
    assert start_of_the_database(tmp_path) == ("PG_VERSION\nprepared\n", "")


@pytest.mark.parametrize("setting", sorted(name for name in OF_ONE_SINK if name.startswith("POSTGRES_")))
def test_the_writer_passes_every_setting_of_its_sink_on(setting: str) -> None:
    assert setting in SERVICES["postgres-writer"]["environment"]


def test_only_the_toolbox_writes_what_the_producer_follows() -> None:
    """Of our services; the user's own logs and the demo's are mounted read-only everywhere."""
    mounts = [mount for name in OURS for mount in SERVICES[name].get("volumes", []) if "/var/log/" in mount]
    assert [mount for mount in mounts if not mount.endswith(":ro")] == ["verify_logs:/var/log/verify"]


def test_image_is_built_of_what_is_named_and_nothing_else() -> None:
    """The build context starts empty, so that a stray file never becomes a layer."""
    patterns = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert patterns[0] == "*"
    dockerfile = (ROOT / "compose/Dockerfile").read_text()
    assert "USER 10001:10001" in dockerfile
    installs = [line for line in dockerfile.splitlines() if " -r /requirements/" in line]
    assert len(installs) == 2
    assert all("--require-hashes" in line for line in installs)
