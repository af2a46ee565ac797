from __future__ import annotations

import itertools
import os
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from store.errors import InputError, StoreError
from store.labels import LabelLog
from store.mirror import Mirror
from store.records import Verdict
from store.schema import FORMAT
from store.store import Store
from tests.store_rows import event, label, message
from tests.studies import ROOT, assert_whole, one, query, small_study

moto_server = pytest.importorskip("moto.server", reason="needs `pip install --group object-store`")
SECRET = "wJalrXUtnFEMI-K7MDENG-bPxRfiCYEXAMPLEKEY"
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    server = moto_server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def url(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """An empty bucket of the test's own."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    bucket = f"bucket-{next(_numbers)}"
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/{bucket}", method="PUT")).close()
    return f"s3://{bucket}/some/prefix?endpoint_override={endpoint}&region=us-east-1"


class Machine:
    """A computer of its own, as far as its files go."""

    def __init__(self, home: Path, url: str) -> None:
        self.home = home
        self.url = url

    def mirror(self) -> Mirror:
        before = os.environ.get("XDG_DATA_HOME")
        os.environ["XDG_DATA_HOME"] = str(self.home)
        try:
            return Mirror(self.url)
        finally:
            os.environ.pop("XDG_DATA_HOME")
            if before is not None:
                os.environ["XDG_DATA_HOME"] = before

    def process(self, *arguments: object) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT), "XDG_DATA_HOME": str(self.home)},
        )

    def cc_tui(self, *arguments: object) -> tuple[int, str, str]:
        process = self.process("-m", "cc_tui", *arguments, "--store", self.url)
        out, err = process.communicate(timeout=60)
        return process.returncode, out, err


@pytest.fixture
def here(tmp_path: Path, url: str) -> Machine:
    return Machine(tmp_path / "here", url)


@pytest.fixture
def there(tmp_path: Path, url: str) -> Machine:
    return Machine(tmp_path / "there", url)


def write_events(mirror: Mirror, study: str, count: int, **limits: float) -> None:
    store = Store.create(mirror.root)
    journal = store.journal(study, "run", **limits)
    for i in range(count):
        journal.append([event(i, study), message(i, "m", study)]).result(timeout=5)
    journal.close()


def counted(root: Path, table: str = "events") -> tuple[int, int]:
    [row] = query(root, f"SELECT count(*) AS n, count(DISTINCT (audit_id, seq)) AS d FROM {table}")
    return row["n"], row["d"]


def objects(mirror: Mirror) -> dict[str, int]:
    return mirror._bucket.sizes()


def test_two_machines_write_into_one_bucket_and_both_see_all(here: Machine, there: Machine) -> None:
    first, second = here.mirror(), there.mirror()
    write_events(first, "one", 30, segment_bytes=2_000)
    write_events(second, "two", 20)
    first.push()
    second.push()
    for mirror in (first, second):
        mirror.pull()
        assert counted(mirror.root) == (50, 50)
        assert counted(mirror.root, "messages") == (50, 50)
    assert first.push().files == first.pull().files == second.push().files == second.pull().files == 0


def test_a_study_runs_into_a_bucket_and_another_machine_reads_it(
    here: Machine, there: Machine, tmp_path: Path
) -> None:
    code, out, err = here.cc_tui("run", small_study(tmp_path), "--speed", "max", "--headless")
    assert (code, err) == (0, "")
    assert out.startswith(f"SIMULATED study small: 16 audits, store {here.url}")
    sql = "SELECT count(*) AS n FROM audits WHERE status = 'ok'"
    code, out, err = there.cc_tui("sql", sql, "--format", "csv")
    assert (code, err) == (0, "")
    assert int(out.split()[1]) > 0
    assert_whole(there.mirror().root, 16)
    code, out, _ = there.cc_tui("run", small_study(tmp_path), "--speed", "max", "--headless")
    assert code == 0
    here.mirror().pull()
    assert_whole(here.mirror().root, 16)
    assert one(here.mirror().root, "SELECT count(*) FROM runs") == 2


def test_journals_of_training_travel_with_the_store_and_grow(here: Machine, there: Machine) -> None:
    first, second = here.mirror(), there.mirror()
    write_events(first, "one", 1)
    first.push()
    second.pull()
    for mirror, lines in ((first, 2), (second, 1)):
        (mirror.root / "training").mkdir(parents=True, exist_ok=True)
        (mirror.root / "training" / "conscious-1a2b.jsonl").write_text("{}\n" * lines + "{tor")
    first.push()
    second.pull()
    second.push()
    first.pull()
    for mirror, other in ((first, 1), (second, 2)):
        journals = sorted((mirror.root / "training").iterdir())
        assert [path.name.partition("~")[0] for path in journals] == [
            "conscious-1a2b.jsonl",
            "conscious-1a2b",
        ]
        assert journals[1].read_text() == "{}\n" * other
    with (first.root / "training" / "conscious-1a2b.jsonl").open("w") as file:
        file.write("{}\n" * 5)
    first.push()
    second.pull()
    assert sorted(len(path.read_text()) for path in (second.root / "training").iterdir()) == [7, 15]


def test_what_is_in_the_bucket_is_plain_hive_partitioned_parquet(here: Machine) -> None:
    from pyarrow import dataset

    mirror = here.mirror()
    write_events(mirror, "one", 5)
    mirror.push()
    base = f"{mirror._bucket._base}/lake/events"
    found = dataset.dataset(base, filesystem=mirror._bucket._filesystem, partitioning="hive").to_table()
    assert sorted(found["seq"].to_pylist()) == list(range(5))
    assert set(found["study_id"].to_pylist()) == {"one"}


KILLED = """
    import os, signal, sys
    from store.mirror import Mirror
    mirror = Mirror(sys.argv[1])
    put, left = mirror._bucket.put, [int(sys.argv[2])]
    def dying(key, content):
        left[0] -= 1
        if left[0] < 0:
            stream = mirror._bucket._filesystem.open_output_stream(f"{mirror._bucket._base}/{key}")
            stream.write(content)
            stream.write(b"x" * 12_000_000)
            os.kill(os.getpid(), signal.SIGKILL)
        put(key, content)
    mirror._bucket.put = dying
    mirror.push()
"""


@pytest.mark.parametrize("after", [0, 1, 3])
def test_an_upload_that_is_killed_leaves_nothing_torn_and_the_next_one_finishes_it(
    here: Machine, there: Machine, after: int
) -> None:
    mirror = here.mirror()
    write_events(mirror, "one", 30, segment_bytes=2_000)
    process = here.process("-c", textwrap.dedent(KILLED), here.url, after)
    assert process.wait(30) == -signal.SIGKILL
    for key, size in objects(mirror).items():
        assert (mirror.root / key).stat().st_size == size
    reader = there.mirror()
    reader.pull()
    if reader.root.exists():
        rows, distinct = counted(reader.root)
        assert rows == distinct <= 30
    code, out, err = here.cc_tui("store", "push")
    assert (code, err) == (0, "")
    assert out.startswith("push: ")
    reader.pull()
    assert counted(reader.root) == counted(reader.root, "messages") == (30, 30)


def test_the_rest_of_a_killed_writer_goes_up_with_the_next_push(here: Machine, there: Machine) -> None:
    writer = here.process(
        "-c",
        "import os, signal, sys\n"
        "from store.mirror import Mirror\n"
        "from store.store import Store\n"
        "from tests.store_rows import event\n"
        "journal = Store.create(Mirror(sys.argv[1]).root).journal('one', 'run')\n"
        "journal.append([event(i) for i in range(9)]).result()\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n",
        here.url,
    )
    assert writer.wait(30) == -signal.SIGKILL
    here.mirror().push()
    reader = there.mirror()
    reader.pull()
    assert counted(reader.root) == (9, 9)


def test_a_reader_that_pulls_while_a_writer_pushes_sees_every_row_once_and_no_torn_file(
    here: Machine, there: Machine
) -> None:
    writer, reader = here.mirror(), there.mirror()
    store = Store.create(writer.root)
    writer.push()
    stop = threading.Event()
    failures: list[BaseException] = []

    def push() -> None:
        try:
            while not stop.is_set():
                writer.push()
        except BaseException as error:  # noqa: BLE001
            failures.append(error)

    thread = threading.Thread(target=push)
    thread.start()
    journal = store.journal("one", "run", segment_bytes=4_000)
    written = seen = pulls = 0
    began = time.monotonic()
    while time.monotonic() < began + 3 or (pulls < 3 and time.monotonic() < began + 30):
        journal.append([event(written + i) for i in range(10)]).result(timeout=5)
        written += 10
        if written % 100 == 0:
            reader.pull()
            rows, distinct = counted(reader.root)
            assert rows == distinct
            assert seen <= rows <= written
            seen = rows
            pulls += 1
    journal.close()
    stop.set()
    thread.join()
    assert not failures
    assert pulls > 2
    assert seen > 0
    writer.push()
    reader.pull()
    assert counted(reader.root) == (written, written)


def test_labels_of_one_annotator_from_two_machines_come_together(here: Machine, there: Machine) -> None:
    first, second = here.mirror(), there.mirror()
    write_events(first, "one", 1)
    first.push()
    second.pull()

    def give(mirror: Mirror, audit: str) -> None:
        log = LabelLog(Store.open(mirror.root), "ann")
        log.append(label(audit, "ann", verdict=Verdict.TRUE))
        log.close()
        mirror.push()

    give(first, "a")
    give(second, "b")
    give(first, "c")
    for mirror in (second, first, second):
        mirror.pull()
        mirror.push()
    for mirror in (first, second):
        found = query(mirror.root, "SELECT audit_id FROM labels ORDER BY audit_id")
        assert [row["audit_id"] for row in found] == ["a", "b", "c"]


def test_a_pull_passes_over_labels_of_who_is_labelling_right_now(here: Machine, there: Machine) -> None:
    first, second = here.mirror(), there.mirror()
    for mirror, audit in ((first, "a"), (second, "b")):
        log = LabelLog(Store.create(mirror.root), "ann")
        log.append(label(audit, "ann"))
        log.close()
        mirror.push()
    at_work = LabelLog(Store.open(first.root), "ann")
    first.pull()
    assert at_work.undo()
    assert query(first.root, "SELECT audit_id FROM labels") == []
    at_work.close()
    first.pull()
    assert query(first.root, "SELECT audit_id FROM labels") == [{"audit_id": "b"}]


def test_a_file_that_was_vacuumed_here_is_neither_brought_back_nor_deleted_there(
    here: Machine, there: Machine
) -> None:
    writer, reader = here.mirror(), there.mirror()
    write_events(writer, "one", 5)
    writer.push()
    reader.pull()
    before = objects(writer)
    for mirror in (writer, reader):
        [parquet] = (mirror.root / "lake" / "events").rglob("one.*.parquet")
        parquet.unlink()
        assert (mirror.pull().files, mirror.push().files) == (0, 0)
        assert not parquet.exists()
    assert objects(writer) == before


def cut_off(endpoint: str, url: str) -> dict[str, str]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    bucket = url.split("/")[2]
    return {
        "no such bucket": url.replace(bucket, "no-such-bucket"),
        "cannot be reached": url.replace(endpoint, f"http://127.0.0.1:{port}"),
        "credentials": url.replace("s3://", f"s3://AKIDEXAMPLE:{SECRET}@"),
        "not password": f"{url}&password={SECRET}",
        "s3://bucket/prefix": "gs://elsewhere/x",
    }


@pytest.mark.parametrize(
    "says", ["no such bucket", "cannot be reached", "credentials", "not password", "s3://bucket/prefix"]
)
def test_a_wrong_place_gets_one_sentence_without_secrets(here: Machine, endpoint: str, says: str) -> None:
    here.url = cut_off(endpoint, here.url)[says]
    code, out, err = here.cc_tui("sql", "SELECT 1")
    assert (code, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1
    assert SECRET not in err


def check_keys(endpoint: str, after_requests: str) -> None:
    send = urllib.request.Request(
        f"{endpoint}/moto-api/reset-auth",
        data=after_requests.encode(),
        headers={"Content-Type": "text/plain"},
        method="POST",
    )
    urllib.request.urlopen(send).close()


def test_keys_that_are_refused_get_one_sentence_without_secrets(here: Machine, endpoint: str) -> None:
    mirror = here.mirror()
    write_events(mirror, "one", 3)
    check_keys(endpoint, "0")
    try:
        with pytest.raises(StoreError, match=r"AWS_ACCESS_KEY_ID.*Nothing is lost") as failed:
            mirror.finish()
        with pytest.raises(InputError, match="AWS_ACCESS_KEY_ID") as refused:
            mirror.pull()
    finally:
        check_keys(endpoint, "inf")
    for text in (str(failed.value), str(refused.value)):
        assert SECRET not in text
        assert "AKIDEXAMPLE" not in text


def test_a_bucket_without_a_store_and_a_store_of_another_version_say_so(
    here: Machine, there: Machine
) -> None:
    code, _, err = here.cc_tui("stats")
    assert code == 2
    assert "There is no store at s3://" in err
    write_events(here.mirror(), "one", 1)
    mirror = here.mirror()
    manifest = mirror.root / "store.json"
    manifest.write_text(manifest.read_text().replace(f'"format":{FORMAT}', '"format":99'))
    mirror.push()
    with pytest.raises(InputError, match="format 99"):
        there.mirror().pull()


def test_no_file_of_a_mirror_holds_a_secret(here: Machine) -> None:
    mirror = here.mirror()
    write_events(mirror, "one", 3)
    mirror.push()
    for path in mirror.root.rglob("*"):
        if path.is_file():
            assert SECRET.encode() not in path.read_bytes()


def test_an_application_without_our_code_reads_a_mirror(here: Machine, there: Machine) -> None:
    write_events(here.mirror(), "one", 7)
    here.mirror().push()
    reader = there.mirror()
    reader.pull()
    with duckdb.connect(str(Store.open(reader.root).catalog()), read_only=True) as con:
        assert con.execute("SELECT count(*) FROM events").fetchall() == [(7,)]


def test_training_into_a_bucket_is_known_on_another_machine(
    here: Machine, there: Machine, tmp_path: Path
) -> None:
    recipe = tmp_path / "conscious.toml"
    recipe.write_text('name = "conscious"\nbase = "sim/vanilla"\ndata.instruction_rows = 500\n')
    code, _, err = here.cc_tui("train", recipe, "--seeds", 1, "--speed", "max")
    assert (code, err) == (0, "")
    code, out, _ = there.cc_tui("train", "list")
    assert code == 0
    assert "succeeded" in out
    assert "sim/conscious" in out
