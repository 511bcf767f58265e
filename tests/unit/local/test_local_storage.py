"""What is special about directories: links, leftovers, full disks, other file systems, what the system's errors mean."""

from __future__ import annotations

import errno
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from pydantic import ValidationError

from mbk.errors import (
    BucketNotFound,
    DeleteFailed,
    InvalidKey,
    MbkError,
    ObjectExists,
    ObjectNotFound,
    PermissionDenied,
    StorageError,
    StorageFull,
    StorageUnavailable,
    Throttled,
)
from mbk.plugin.wrapper import StorageWrapper
from mbk.ports.storage import PRIVATE, Level, Tidying, ability
from mbk_local import kernel, mbk_storage_backends
from mbk_local.copying import CHUNK
from mbk_local.errors import MEANINGS, ONE_NAME, translated, translating
from mbk_local.locks import is_left_behind
from mbk_local.names import temporary_name
from mbk_local.settings import LocalSettings
from mbk_local.storage import LocalStorage
from tests.raising import raised

SHM = Path("/dev/shm")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "root"
    root.mkdir()
    return root


@pytest.fixture
def storage(root: Path) -> LocalStorage:
    return LocalStorage(root)


def content(storage: LocalStorage, key: str) -> bytes:
    with storage.read(key) as chunks:
        return b"".join(chunks)


def in_threads(tasks: list[Callable[[], None]]) -> None:
    """Runs the tasks at once; the first exception is raised."""
    with ThreadPoolExecutor(len(tasks)) as pool:
        for done in [pool.submit(task) for task in tasks]:
            done.result()


def names(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


# Where it is


def test_the_location_is_the_absolute_directory(
    tmp_path: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    location = LocalStorage("root").location
    assert (location.bucket, location.mount, location.root) == (str(root.resolve()), f"{root}/", "")
    assert location.same_bucket(LocalStorage(root).location)


def test_the_mount_is_the_directory_as_milvus_sees_it(root: Path) -> None:
    assert LocalStorage(root, mount="/var/lib/milvus/data").location.mount == "/var/lib/milvus/data/"
    assert LocalStorage(root, mount="/var/lib/milvus/data/").location.mount == "/var/lib/milvus/data/"


def test_the_root_may_be_a_link(tmp_path: Path, root: Path) -> None:
    (tmp_path / "link").symlink_to(root)
    storage = LocalStorage(tmp_path / "link")
    storage.write("a/b", [b"x"])
    assert (root / "a/b").read_bytes() == b"x"
    assert storage.location.same_bucket(LocalStorage(root).location)
    assert storage.location.mount == f"{tmp_path}/link/"


def test_the_backend_opens_a_directory(root: Path) -> None:
    [backend] = mbk_storage_backends()
    settings = backend.settings().model_validate(
        {"root_path": str(root), "local_path": "/seen/by/milvus", "bucket": "a-bucket"}
    )
    storage = backend.open(settings)
    assert storage.location.mount == "/seen/by/milvus/"
    assert "access_key_id" in LocalSettings.ignored


@pytest.mark.parametrize("value", ["", "  ", "a\0b"])
def test_a_root_path_that_names_nothing_is_refused(value: str) -> None:
    with pytest.raises(ValidationError):
        LocalSettings(root_path=value)


def test_a_root_that_vanished_is_not_made_again_by_a_write(root: Path, storage: LocalStorage) -> None:
    """It may be the mount point of a share that is not mounted."""
    root.rmdir()
    with raised(BucketNotFound, "directory-missing", directory=str(root)):
        storage.write("a/b", [b"x"])
    assert not root.exists()


def test_a_root_that_is_a_file_is_no_bucket(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BucketNotFound):
        LocalStorage(tmp_path / "file").check(create=True)


# Links


@pytest.fixture
def outside(tmp_path: Path, root: Path) -> Path:
    """A directory outside, with links into it from inside: to the directory and to a file."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_bytes(b"secret")
    (root / "dir").symlink_to(outside)
    (root / "file").symlink_to(outside / "secret")
    (root / "dangling").symlink_to(outside / "new")
    return outside


@pytest.fixture(params=["linux", "elsewhere"])
def system(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """With and without the kernel's calls that follow no link."""
    if request.param == "elsewhere":
        monkeypatch.setattr(kernel, "called", lambda *_: -1)


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("key", ["dir/secret", "file", "dir", "dangling"])
def test_links_are_not_read(outside: Path, storage: LocalStorage, key: str) -> None:
    with raised(InvalidKey, "symbolic-link"):
        storage.stat(key)
    with pytest.raises(InvalidKey):
        content(storage, key)
    with pytest.raises(InvalidKey):
        storage.copy(storage, key, "copy")
    assert names(outside) == ["secret"]


@pytest.mark.usefixtures("system")
@pytest.mark.parametrize("key", ["dir/secret", "dir/new", "file", "dangling", "dir/deep/er"])
def test_links_are_not_written_through(outside: Path, storage: LocalStorage, key: str) -> None:
    storage.write("source", [b"x"])
    for write in (storage.write, storage.write_if_absent):
        with pytest.raises(InvalidKey):
            write(key, [b"x"])
    with pytest.raises(InvalidKey):
        storage.copy(storage, "source", key)
    with pytest.raises(InvalidKey):
        storage.multipart(key)
    assert names(outside) == ["secret"]
    assert (outside / "secret").read_bytes() == b"secret"


@pytest.mark.usefixtures("system")
def test_a_directory_that_became_a_link_is_not_written_through(
    tmp_path: Path, root: Path, storage: LocalStorage
) -> None:
    """The storage has written there before."""
    storage.write("a/b/c", [b"x"])
    (root / "a/b").rename(tmp_path / "outside")
    (root / "a/b").symlink_to(tmp_path / "outside")
    for write in (storage.write, storage.write_if_absent):
        with raised(InvalidKey, "symbolic-link"):
            write("a/b/d", [b"x"])
    with raised(InvalidKey, "symbolic-link"):
        storage.copy(storage, "a/b/c", "a/d")
    assert names(tmp_path / "outside") == ["c"]


def test_links_are_not_deleted_through(outside: Path, storage: LocalStorage) -> None:
    with pytest.raises(DeleteFailed) as caught:
        storage.delete(["dir/secret", "file"])
    assert caught.value.failures.keys() == {"dir/secret", "file"}
    assert names(outside) == ["secret"]


def test_links_are_not_listed_and_not_cleaned_through(outside: Path, storage: LocalStorage) -> None:
    leftover = outside / temporary_name()
    leftover.touch()
    assert list(storage.list()) == []
    assert storage.list_level() == Level()
    with pytest.raises(InvalidKey):
        list(storage.list("dir/"))
    assert storage.clean("") == 0
    with pytest.raises(InvalidKey):
        storage.clean("dir/")
    assert leftover.exists()


# Keys


@pytest.mark.parametrize(
    "key", ["../a", "a/../../b", "/etc/passwd", "a//b", "a/", ".", "..", "", "a\0b", "\ud800"]
)
def test_a_key_that_is_no_path_below_the_root_is_invalid(root: Path, storage: LocalStorage, key: str) -> None:
    with pytest.raises(InvalidKey):
        storage.write(key, [b"x"])
    with pytest.raises(InvalidKey):
        storage.stat(key)
    with pytest.raises(DeleteFailed):
        storage.delete([key])
    assert names(root) == []


def test_a_name_that_is_too_long_is_invalid(storage: LocalStorage) -> None:
    with pytest.raises(InvalidKey) as caught:
        storage.write("n" * 256, [b"x"])
    assert caught.value.hint
    storage.write("n" * 255, [b"x"])
    assert [info.size for info in storage.list()] == [1]


def test_an_object_and_a_directory_cannot_share_a_name(storage: LocalStorage) -> None:
    storage.write("a/b", [b"x"])
    for write in (storage.write, storage.write_if_absent):
        with pytest.raises(InvalidKey) as caught:
            write("a", [b"x"])
        assert caught.value.hint == ONE_NAME
        with raised(InvalidKey, "object-in-the-way"):
            write("a/b/c", [b"x"])


def test_one_writer_wins_also_where_there_are_no_hard_links(
    root: Path, storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", refuse)
    outcomes: list[bytes] = []

    def write(data: bytes) -> None:
        with suppress(ObjectExists):
            storage.write_if_absent("a", [data])
            outcomes.append(data)

    in_threads([partial(write, b"%d" % number) for number in range(8)])
    assert [content(storage, "a")] == outcomes
    assert names(root) == ["a"]


# Directories


def test_empty_directories_vanish_up_to_the_root(root: Path, storage: LocalStorage) -> None:
    storage.write("a/b/c", [b"x"])
    storage.write("a/d", [b"x"])
    storage.delete(["a/b/c"])
    assert names(root) == ["a", "a/d"]
    storage.delete(["a/d"])
    assert names(root) == []
    assert root.exists()


def test_a_failed_write_leaves_no_directories(root: Path, storage: LocalStorage) -> None:
    with pytest.raises(StorageError):
        storage.write("a/b/c", [b"x"], size=2)
    with storage.multipart("d/e/f") as upload:
        upload.put_part(1, b"x")
    assert names(root) == []


@pytest.mark.parametrize("prefix", ["a/../", "../", "/", "a//", "../a", "/a"])
def test_what_is_no_prefix_is_refused(root: Path, storage: LocalStorage, prefix: str) -> None:
    leftover = root / temporary_name()
    leftover.touch()
    with pytest.raises(InvalidKey):
        list(storage.list(prefix))
    with pytest.raises(InvalidKey):
        storage.clean(prefix)
    assert leftover.exists()


def test_a_directory_without_objects_is_no_prefix(root: Path, storage: LocalStorage) -> None:
    (root / "a/b").mkdir(parents=True)
    (root / "c").mkdir()
    (root / "c" / temporary_name()).touch()
    assert storage.list_level() == Level()


def test_a_glance_shows_the_objects_of_a_directory_and_the_files_asked_for(
    root: Path, storage: LocalStorage
) -> None:
    for key in ("a/one", "a/two", "a/b/one"):
        storage.write(key, [key.encode()])
    (root / "a/three").symlink_to(root / "a/two")
    (root / "a/four").write_bytes(bytes(CHUNK + 1))
    (root / "a" / temporary_name()).touch()
    (root / "empty").mkdir()
    objects, contents = storage.glance("a/", {"one", "three", "four", "five", "b"})
    assert {*objects} == {*storage.list_level("a/").objects}
    assert contents == {"one": b"a/one"}
    assert storage.glance("nothing/", {"one"}) == ([], {})
    assert sorted(storage.directories()) == ["a/", "empty/"]
    assert storage.directories("a/") == ["a/b/"]
    (root / "link").symlink_to(root / "a")
    with raised(InvalidKey, "symbolic-link"):
        storage.glance("link/", {"one"})


@pytest.mark.usefixtures("system")
def test_what_is_no_regular_file_is_no_object(root: Path, storage: LocalStorage) -> None:
    os.mkfifo(root / "pipe")
    assert list(storage.list()) == []
    with pytest.raises(ObjectNotFound):
        content(storage, "pipe")


@pytest.mark.usefixtures("system")
def test_writers_and_deleters_of_one_directory_do_not_meet(storage: LocalStorage) -> None:
    """The directory is made and removed all the time: no write may fail for it."""

    def work(name: str) -> None:
        for _ in range(100):
            storage.write(f"a/b/c/{name}", [b"x"])
            storage.delete([f"a/b/c/{name}"])

    in_threads([partial(work, str(number)) for number in range(4)])
    assert list(storage.list()) == []


def test_files_get_the_usual_rights(root: Path, storage: LocalStorage) -> None:
    """Milvus runs as another user, often: what is restored must be readable as any new file is."""
    old = os.umask(0o022)
    try:
        storage.write("a", [b"x"])
        storage.copy(storage, "a", "b")
    finally:
        os.umask(old)
    assert [(root / name).stat().st_mode & 0o777 for name in "ab"] == [0o644, 0o644]


def test_what_is_private_is_for_its_owner_alone_and_so_are_its_copies(
    root: Path, storage: LocalStorage
) -> None:
    storage.write("a", [b"x"], options=PRIVATE)
    storage.write_if_absent("b", [b"x"], options=PRIVATE)
    storage.copy(storage, "a", "c")
    assert [(root / name).stat().st_mode & 0o777 for name in "abc"] == [0o600] * 3


def test_a_tilde_is_the_home_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert LocalSettings(root_path="~/b").root_path == f"{tmp_path}/b"
    assert LocalSettings(root_path="./~").root_path == "./~"


# Killed writers

KILLED = """
import os, signal, sys
from mbk_local.storage import LocalStorage
from tests.raising import raised
storage = LocalStorage(sys.argv[1])
def chunks():
    yield b"half"
    os.kill(os.getpid(), signal.SIGKILL)
if sys.argv[2] == "write":
    storage.write("b/there", chunks())
else:
    with storage.multipart("b/there") as upload:
        upload.put_part(1, b"half")
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("way", ["write", "multipart"])
def test_a_killed_writer_leaves_what_was_there_and_is_cleaned_up_after(
    root: Path, storage: LocalStorage, way: str
) -> None:
    storage.write("b/there", [b"before"])
    storage.write("bc/other", [b"x"])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run([sys.executable, "-c", KILLED, str(root), way], env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert len(names(root)) > 4
    assert content(storage, "b/there") == b"before"
    assert sorted(info.key for info in storage.list()) == ["b/there", "bc/other"]
    assert storage.clean("bc/") == 0
    assert storage.clean("b/") == 1
    assert names(root) == ["b", "b/there", "bc", "bc/other"]


def test_where_others_write_only_what_nobody_writes_any_more_is_tidied_away(
    root: Path, storage: LocalStorage
) -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", KILLED, str(root), "write"], env=environment, check=False)
    assert len(names(root)) == 2

    def chunks() -> Iterator[bytes]:
        yield b"one"
        assert ability(StorageWrapper(storage), Tidying) is storage
        assert storage.tidy("elsewhere/") == 0
        assert storage.tidy("b/") == 1
        assert storage.tidy("") == 0
        yield b"two"

    storage.write("b/mine", chunks())
    assert content(storage, "b/mine") == b"onetwo"
    assert names(root) == ["b", "b/mine"]


def test_where_no_lock_tells_the_age_does(root: Path, storage: LocalStorage) -> None:
    """A directory of parts has no lock; neither has a file on some shares."""
    with storage.multipart("a") as upload:
        upload.put_part(1, b"x")
        [directory] = root.iterdir()
        assert not is_left_behind(directory)
        assert is_left_behind(directory, old=-1)


# Full disks, limits, rights


def limited(root: Path, code: str) -> str:
    """What the code prints, in a process that may write no file of more than 100,000 bytes."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    script = f"from mbk.errors import *\nfrom mbk_local.storage import LocalStorage\ns = LocalStorage({str(root)!r})\n"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", script + code]
    return subprocess.run(
        command, env=environment, preexec_fn=limit, capture_output=True, text=True, check=True
    ).stdout


def test_a_file_that_finds_no_room_is_storage_full(root: Path, storage: LocalStorage) -> None:
    storage.write("there", [b"before"])
    code = "try: s.write('there', [b'x' * 60_000] * 2)\nexcept StorageFull as exc: print(exc)"
    assert "no file of this size" in limited(root, code)
    assert content(storage, "there") == b"before"
    assert names(root) == ["there"]


def test_a_full_file_system_is_storage_full(tmp_path: Path) -> None:
    mounted = tmp_path / "small"
    mounted.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(mounted)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a file system of 256 KiB cannot be mounted here")
    try:
        storage = LocalStorage(mounted)
        storage.write("there", [b"before"])
        with pytest.raises(StorageFull):
            storage.write("there", [b"x" * 100_000] * 4)
        with pytest.raises(StorageFull), storage.multipart("parts") as upload:
            upload.put_part(1, b"x" * 400_000)
        assert content(storage, "there") == b"before"
        assert names(mounted) == ["there"]
    finally:
        subprocess.run(["umount", str(mounted)], check=True)


@pytest.fixture
def as_nobody() -> Iterator[None]:
    """Root may write everywhere, so be somebody else for a while."""
    user = os.geteuid()
    if user == 0:
        os.seteuid(65534)
    yield
    os.seteuid(user)


def test_a_directory_that_may_not_be_written_is_permission_denied(root: Path, as_nobody: None) -> None:
    del as_nobody
    if os.geteuid() != 65534:
        root.chmod(0o500)
    storage = LocalStorage(root)
    with pytest.raises(PermissionDenied):
        storage.write("a", [b"x"])
    if os.geteuid() != 65534:
        root.chmod(0o700)


# Other file systems


@pytest.fixture
def elsewhere(root: Path) -> Iterator[LocalStorage]:
    if not SHM.is_dir() or SHM.stat().st_dev == root.stat().st_dev:
        pytest.skip("there is no second file system at /dev/shm")
    directory = SHM / f"mbk-test-{os.getpid()}-{root.parent.name}"
    directory.mkdir()
    try:
        yield LocalStorage(directory)
    finally:
        subprocess.run(["rm", "-r", str(directory)], check=True)


def test_copies_cross_file_systems(storage: LocalStorage, elsewhere: LocalStorage) -> None:
    data = os.urandom(3_000_000)
    storage.write("a", [data])
    elsewhere.copy(storage, "a", "b/c")
    assert elsewhere.stat("b/c").size == len(data)
    storage.copy(elsewhere, "b/c", "back")
    with elsewhere.multipart("parts") as upload:
        upload.copy_part(2, storage, "a", offset=1_000_000, length=2_000_000)
        upload.copy_part(1, storage, "a", offset=0, length=1_000_000)
        upload.complete()
    assert content(elsewhere, "b/c") == content(storage, "back") == content(elsewhere, "parts") == data


@pytest.mark.parametrize("code", [errno.EXDEV, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EPERM])
def test_where_the_kernel_cannot_copy_bytes_are_read_and_written(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    data = os.urandom(2_500_000)
    storage.write("a", [data])

    def refuse(*_args: object, **_options: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "copy_file_range", refuse, raising=False)
    storage.copy(storage, "a", "b")
    monkeypatch.setattr(os, "sendfile", refuse, raising=False)
    storage.copy(storage, "a", "c")
    assert content(storage, "b") == content(storage, "c") == data


def test_a_kernel_may_copy_less_than_it_was_asked_to(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each way goes on where the one before ended: here one call of each, then nothing."""
    data = os.urandom(2_500_000)
    storage.write("a", [data])

    def once(call: Callable[..., int], short: Callable[..., int]) -> Callable[..., int]:
        answers = [short, lambda *_args, **_options: 0]
        return lambda *args, **options: answers.pop(0)(call, *args, **options)

    def copied(call: Callable[..., int], source: int, target: int, length: int, **options: int) -> int:
        return call(source, target, min(length, 1_000_001), **options)

    def sent(call: Callable[..., int], target: int, source: int, offset: int, length: int) -> int:
        return call(target, source, offset, min(length, 10_001))

    monkeypatch.setattr(os, "copy_file_range", once(os.copy_file_range, copied))
    monkeypatch.setattr(os, "sendfile", once(os.sendfile, sent))
    storage.copy(storage, "a", "b")
    assert content(storage, "b") == data


def test_a_kernel_that_copies_nothing_is_not_believed(
    storage: LocalStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some kernels and file systems answer 0 in the middle of a file."""
    storage.write("a", [b"x" * 100_000])
    monkeypatch.setattr(os, "copy_file_range", lambda *_args, **_options: 0, raising=False)
    storage.copy(storage, "a", "b")
    assert content(storage, "b") == b"x" * 100_000


def test_a_copy_into_a_full_place_leaves_what_was_there(root: Path, storage: LocalStorage) -> None:
    storage.write("big", [b"x" * 200_000])
    storage.write("there", [b"before"])
    code = "try: s.copy(s, 'big', 'there')\nexcept StorageFull as exc: print('full')"
    assert limited(root, code) == "full\n"
    assert content(storage, "there") == b"before"
    assert names(root) == ["big", "there"]


# What the system's errors mean


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, StorageFull),
        (errno.EDQUOT, StorageFull),
        (errno.EACCES, PermissionDenied),
        (errno.EROFS, PermissionDenied),
        (errno.ENOENT, ObjectNotFound),
        (errno.ENAMETOOLONG, InvalidKey),
        (errno.EMFILE, Throttled),
        (errno.EIO, StorageUnavailable),
        (errno.ESTALE, StorageUnavailable),
        (errno.ECHILD, StorageError),
    ],
)
def test_an_error_of_the_system_is_told_in_one_line(code: int, kind: type[MbkError]) -> None:
    error = translated(OSError(code, os.strerror(code)), "/data/a")
    assert type(error) is kind
    assert str(error).startswith("/data/a: ")
    assert "\n" not in str(error)


def test_every_error_of_the_system_has_a_meaning() -> None:
    assert all(isinstance(translated(OSError(code, "x"), "a"), MbkError) for code in errno.errorcode)
    assert set(MEANINGS) <= set(errno.errorcode.values())


def test_errors_of_mbk_are_not_translated() -> None:
    """`ObjectNotFound` is a `FileNotFoundError` too: of another storage it must stay what it is."""
    error = ObjectNotFound("the source's")
    with pytest.raises(ObjectNotFound) as caught, translating("here"):
        raise error
    assert caught.value is error


def test_an_error_of_the_caller_passes_through_a_read(storage: LocalStorage) -> None:
    storage.write("a", [b"x"])
    error = OSError(errno.ENOSPC, "of the caller")
    with pytest.raises(OSError) as caught, storage.read("a"):  # noqa: PT011  this very one
        raise error
    assert caught.value is error


def test_deleting_many_removes_what_it_empties_and_nothing_else(storage: LocalStorage, root: Path) -> None:
    kept = ["a/1/kept", "b/kept", "kept"]
    deep = "/".join(["d"] * 40)
    gone = ["a/1/x", "a/1/y", "a/2/3/x", "a/2/4/x", "b/x", f"{deep}/x", "x", "c/x"]
    for key in (*kept, *gone):
        storage.write(key, [b"."])
    (root / "a" / "2" / "4" / "empty").mkdir()
    storage.delete([*gone, "a/2/3/x", "never/was", "a/1", "kept/below"])
    assert sorted(info.key for info in storage.list()) == kept
    assert sorted(path.name for path in root.iterdir()) == ["a", "b", "kept"]
    assert (root / "a" / "2" / "4" / "empty").is_dir()
    assert not (root / "a" / "2" / "3").exists()


def test_a_file_that_cannot_be_deleted_is_named_and_the_others_go(storage: LocalStorage, root: Path) -> None:
    for key in ("a/x", "b/x", "c/x"):
        storage.write(key, [b"."])
    outside = root.parent / "outside"
    (root / "b").rename(outside)
    (root / "b").symlink_to(outside)
    with raised(DeleteFailed) as caught:
        storage.delete(["a/x", "b/x", "c/x"])
    assert set(caught.value.failures) == {"b/x"}
    assert (outside / "x").exists()
    assert list(storage.list()) == []
