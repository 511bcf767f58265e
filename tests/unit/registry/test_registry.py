"""Selecting and opening a storage: what works, and the line that a user reads when it does not."""

from __future__ import annotations

import logging
import pickle
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from mbk.config.schema import StorageChoice
from mbk.errors import BrokenPlugin, ConfigError, MissingDependency, UnknownStorage
from mbk.model.events import Event, RunStarted
from mbk.plugin import StorageBackend, StorageSettings, hookimpl
from mbk.registry.reference import Reference
from mbk.registry.registry import Registry
from tests.raising import raised

STARTED = RunStarted(command="create", name="nightly")


class Store:
    """Has every member of a storage; none of them is called here."""

    location = capabilities = None

    def __init__(self, settings: StorageSettings) -> None:
        self.settings = settings

    def check(self, *args: Any, **options: Any) -> None: ...

    close = list = stat = read = write = write_if_absent = delete = check
    can_copy_from = copy = multipart = clean = list_level = check


def open_store(settings: StorageSettings) -> Any:
    return Store(settings)


class AcmeSettings(StorageSettings):
    ignored = frozenset({"region"})

    port: int = 9000
    secret_access_key: SecretStr = SecretStr("")
    account_name: str


class Acme:
    """A plugin as an object."""

    def __init__(self, **changes: Any) -> None:
        fields = {"name": "acme", "summary": "", "settings": lambda: StorageSettings, "open": open_store}
        self._backend = StorageBackend(**{**fields, **changes})

    @hookimpl
    def mbk_storage_backends(self) -> list[StorageBackend]:
        return [self._backend]


def choice(**values: Any) -> StorageChoice:
    keys = {name: f"minio.{name}" for name in values}
    return StorageChoice(type="acme", type_key="minio.storageType", values=values, keys=keys)


def registry_with(*plugins: object) -> Registry:
    registry = Registry(disabled=())
    for number, plugin in enumerate(plugins):
        registry.register(plugin, f"plugin{number}")
    return registry


# --- selecting


@pytest.mark.usefixtures("acme")
def test_names_are_listed_without_importing_a_plugin() -> None:
    assert {"acme", "acme-cloud", "local", "s3"} <= set(Registry(disabled=()).names())
    assert "mbk_acme" not in sys.modules


@pytest.mark.usefixtures("acme")
@pytest.mark.parametrize("spelling", ["acme", "ACME", " Acme-Cloud "])
def test_a_storage_is_selected_by_any_spelling_and_case(spelling: str) -> None:
    assert Registry(disabled=()).backend(spelling).name == "acme"


def test_only_the_selected_plugin_is_imported(install: Any, acme: None) -> None:
    install("mbk-other", {"mbk_other": "raise RuntimeError"}, storage={"other": "mbk_other"})
    assert Registry(disabled=()).open(choice())
    assert "mbk_other" not in sys.modules


def test_an_unknown_type_is_told_with_the_nearest_one_and_all_others(acme: None) -> None:
    with raised(UnknownStorage, "storage-type-unknown", key="minio.storageType", type="acne") as caught:
        Registry(disabled=()).backend("acne", key="minio.storageType")
    assert "did you mean 'acme'?" in str(caught.value.facts["suggestion"])
    assert str(caught.value.facts["installed"]).startswith("acme, ")


@pytest.mark.parametrize("disabled", ["acme", "mbk-acme", "MBK-Acme"])
def test_a_disabled_plugin_counts_as_not_installed(
    acme: None, disabled: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MBK_DISABLE_PLUGINS", f"x, {disabled}")
    assert "acme" not in Registry().names()
    with pytest.raises(UnknownStorage):
        Registry().backend("acme")


def test_two_distributions_with_one_spelling_are_an_error_for_whoever_selects_it(
    install: Any, acme: None
) -> None:
    install("evil", {"mbk_evil": ""}, storage={"acme": "mbk_evil"})
    with raised(BrokenPlugin, "storage-type-ambiguous", type="acme", origins="mbk-acme 1.5 and evil 1.5"):
        Registry(disabled=()).backend("acme")
    assert Registry(disabled=()).backend("acme-cloud").name == "acme"
    assert Registry(disabled=("evil",)).backend("acme").name == "acme"


def test_a_program_registers_its_own_storage_and_it_wins(acme: None) -> None:
    registry = registry_with(Acme(summary="mine", aliases=("Ours",)))
    assert registry.backend("acme").summary == "mine"
    assert registry.backend("ours").summary == "mine"
    assert "ours" in registry.names()


# --- broken plugins

BROKEN = {
    "import error": (
        "import nowhere_to_be_found",
        "ModuleNotFoundError: No module named 'nowhere_to_be_found'",
    ),
    "raises at import": ("1 / 0", "ZeroDivisionError: division by zero"),
    "syntax error": ("def", "SyntaxError: invalid syntax"),
    "no hooks": ("", "module mbk_bad does not provide this storage"),
    "misspelt hook": (
        "import mbk\n@mbk.hookimpl\ndef mbk_storage_backend(): ...",
        "unknown hook 'mbk_storage_backend', did you mean 'mbk_storage_backends'?",
    ),
    "misspelt function without the marker": ("def mbk_evnt(event): ...", "did you mean 'mbk_event'?"),
    "marker forgotten": ("def mbk_event(event): ...", "mbk_event is not marked with @mbk.hookimpl"),
    "wrong argument": (
        "import mbk\n@mbk.hookimpl\ndef mbk_event(happening): ...",
        "mbk_event accepts (event), not 'happening'",
    ),
    "wrong records": (
        "import mbk\n@mbk.hookimpl\ndef mbk_storage_backends(): return ['acme']",
        "must yield StorageBackend records, not a str",
    ),
    "not a sequence of records": (
        "import mbk\n@mbk.hookimpl\ndef mbk_storage_backends(): return 5",
        "must yield StorageBackend records, not a int",
    ),
    "hook raises": (
        "import mbk\n@mbk.hookimpl\ndef mbk_storage_backends(): raise LookupError('no\\nway')",
        "LookupError: no",
    ),
    "wrapper where none may be": (
        "import mbk\n@mbk.hookimpl(wrapper=True)\ndef mbk_event(event): yield",
        "mbk_event cannot be wrapped",
    ),
}


@pytest.mark.parametrize(("source", "reason"), BROKEN.values(), ids=list(BROKEN))
def test_a_broken_plugin_is_one_line_for_whoever_selects_it(install: Any, source: str, reason: str) -> None:
    install("mbk-bad", {"mbk_bad": source}, storage={"bad": "mbk_bad"})
    with raised(BrokenPlugin, "plugin-broken", name="bad", origin="mbk-bad 1.5") as caught:
        Registry(disabled=()).backend("bad")
    assert reason in str(caught.value.facts["reason"])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("source", [source for source, _ in BROKEN.values()], ids=list(BROKEN))
def test_a_broken_plugin_stops_nobody_else(install: Any, acme: None, source: str) -> None:
    install("mbk-bad", {"mbk_bad": source}, storage={"bad": "mbk_bad"})
    assert Registry(disabled=()).open(choice())


@pytest.mark.parametrize(
    "changes",
    [{"name": "ACME"}, {"aliases": ["acme-cloud"]}, {"requires": "boto3"}, {"open": None}, {"summary": None}],
)
def test_a_record_with_a_wrong_field_is_refused(changes: dict[str, Any]) -> None:
    with raised(BrokenPlugin, "plugin-broken") as caught:
        registry_with(Acme(**changes))
    assert next(iter(changes)) in str(caught.value.facts["reason"])


def test_a_class_in_place_of_an_object_is_refused() -> None:
    with raised(BrokenPlugin, "plugin-broken") as caught:
        registry_with(Acme)
    assert "Acme is a class" in str(caught.value.facts["reason"])


def test_two_plugins_cannot_have_one_name() -> None:
    registry = registry_with(Acme())
    with raised(
        BrokenPlugin, "plugin-broken", name="plugin0", reason="another plugin is registered under this name"
    ):
        registry.register(Acme(), "plugin0")


# --- opening


def test_opening_hands_the_checked_values_to_the_storage() -> None:
    registry = registry_with(Acme(settings=lambda: AcmeSettings))
    storage: Any = registry.open(choice(account_name="me", port="9001", region="ignored", bucket="b"))
    assert (storage.settings.account_name, storage.settings.port, storage.settings.bucket) == (
        "me",
        9001,
        "b",
    )


def test_every_wrong_value_is_told_by_the_users_own_key_and_without_the_value() -> None:
    registry = registry_with(Acme(settings=lambda: AcmeSettings))
    wrong = choice(port="hunter2", account_nam="hunter2", profile="hunter2", secret_access_key=["hunter2"])
    with pytest.raises(ConfigError) as caught:
        registry.open(wrong)
    told = {problem.key: problem for problem in caught.value.problems}
    assert told.keys() == {
        "minio.port",
        "minio.account_nam",
        "minio.profile",
        "minio.secret_access_key",
        "account_name",
    }
    assert told["minio.account_nam"].suggestion == "did you mean 'account_name'?"
    assert told["minio.profile"].message == "is not a setting of storage type 'acme'"
    assert told["account_name"].message == "required by storage type 'acme'"
    assert "hunter2" not in str(caught.value)


def test_a_wrapper_receives_the_storage_and_hands_on_its_own() -> None:
    class Wrapper:
        @hookimpl(wrapper=True)
        def mbk_open_storage(self, backend: StorageBackend) -> Any:
            storage = yield
            storage.wrapped_for = backend.name
            return storage

    storage: Any = registry_with(Acme(), Wrapper()).open(choice())
    assert storage.wrapped_for == "acme"


def test_a_plugin_may_open_a_storage_in_the_place_of_mbk() -> None:
    class Replacement:
        @hookimpl
        def mbk_open_storage(self, settings: StorageSettings) -> Any:
            return Store(settings) if settings.bucket == "mine" else None

    def never(settings: StorageSettings) -> Any:
        raise AssertionError(settings)

    registry = registry_with(Acme(open=never), Replacement())
    assert registry.open(choice(bucket="mine"))
    with pytest.raises(AssertionError):
        registry.open(choice(bucket="yours"))


class OldStore(Store):
    """As the first version of the storage port had it."""

    list_level = property(lambda self: self.missing)

    def list(self, prefix: str = "", *, recursive: bool = True) -> None: ...
    def write(self, key: str, chunks: Any, *, size: int | None = None) -> None: ...
    def copy(self, source: Any, source_key: str, key: str) -> None: ...


def test_a_storage_of_the_old_port_is_told_what_to_change_in_one_line() -> None:
    with pytest.raises(BrokenPlugin) as caught:
        registry_with(Acme(open=OldStore)).open(choice())
    message = str(caught.value)
    assert "\n" not in message
    assert "version 1 of the storage port" in message
    for change in ("list(start_after=)", "write(options=)", "copy(options=)", "list_level"):
        assert change in message
    assert "write_if_absent(" not in message


def test_a_reference_opens_the_storage_again_and_shows_no_secret(tmp_path: Path) -> None:
    chosen = StorageChoice(type="local", values={"root_path": str(tmp_path)})
    reference = pickle.loads(pickle.dumps(Reference(chosen)))
    assert reference.open().location.bucket == str(tmp_path)
    secret = StorageChoice(type="minio", values={"bucket": "b", "secret_access_key": SecretStr("hunter2")})
    assert repr(Reference(secret)) == "<Reference to a storage of type 'minio'>"
    assert "hunter2" not in str(Reference(secret))


def test_what_lacks_a_method_is_no_storage() -> None:
    with raised(BrokenPlugin, "plugin-broken", name="acme") as caught:
        registry_with(Acme(open=lambda settings: object())).open(choice())
    assert "multipart" in str(caught.value.facts["reason"]).split(", ")


def test_settings_of_another_class_are_refused() -> None:
    with raised(
        BrokenPlugin,
        "plugin-broken",
        reason="its settings class is not a subclass of mbk.plugin.StorageSettings",
    ):
        registry_with(Acme(settings=lambda: dict)).open(choice())


# --- a missing SDK


def import_missing(*_: Any) -> Any:
    import acme_sdk.client  # type: ignore[import-not-found]  # missing is the point

    return acme_sdk


@pytest.mark.parametrize("where", ["open", "settings"])
def test_a_missing_sdk_is_told_as_the_pip_install(where: str) -> None:
    plugin = Acme(extra="acme[sdk]", requires=("acme_sdk.client",), **{where: import_missing})
    with raised(
        MissingDependency, "storage-sdk-missing", storage="acme", packages="acme_sdk-client"
    ) as caught:
        registry_with(plugin).open(choice())
    assert caught.value.hint == "pip install 'acme[sdk]'"


def test_the_packages_of_the_extra_are_named_where_the_metadata_has_them(install: Any) -> None:
    install("mbk-x", {}, metadata='Requires-Dist: acme-python-sdk>=5; extra == "sdk"\nProvides-Extra: sdk\n')
    plugin = Acme(extra="mbk-x[sdk]", requires=("acme_sdk",), open=import_missing)
    with raised(
        MissingDependency, "storage-sdk-missing", storage="acme", packages="acme-python-sdk"
    ) as caught:
        registry_with(plugin).open(choice())
    assert caught.value.hint == "pip install 'acme-python-sdk>=5'"


@pytest.mark.parametrize("point", ["mbk_x", "mbk_x [x]"])
def test_a_missing_sdk_at_import_is_told_by_the_extra_of_the_distribution(install: Any, point: str) -> None:
    extras = 'Requires-Dist: acme-sdk>=5; extra == "x"\nProvides-Extra: x\n'
    install("mbk-x", {"mbk_x": "import acme_sdk"}, storage={"x": point}, metadata=extras)
    with raised(MissingDependency, "storage-sdk-missing", storage="x", packages="acme-sdk") as caught:
        Registry(disabled=()).backend("x")
    assert caught.value.hint == "pip install 'acme-sdk>=5'"


def test_another_import_error_on_opening_is_the_plugins_fault() -> None:
    plugin = Acme(extra="acme[sdk]", requires=("other_sdk",), open=import_missing)
    with raised(BrokenPlugin, "plugin-broken", name="acme") as caught:
        registry_with(plugin).open(choice())
    assert "No module named 'acme_sdk'" in str(caught.value.facts["reason"])


# --- observers


class Observer:
    def __init__(self) -> None:
        self.seen: list[Event] = []

    @hookimpl
    def mbk_event(self, event: Event) -> None:
        self.seen.append(event)


class Failing:
    @hookimpl
    def mbk_event(self, event: Event) -> None:
        raise RuntimeError("no disk")


class Deaf:
    @hookimpl
    def mbk_event(self) -> None: ...


def test_an_observers_exception_is_logged_once_with_its_name_and_reaches_nobody(
    caplog: pytest.LogCaptureFixture,
) -> None:
    before, after = Observer(), Observer()
    registry = registry_with(before, Failing(), Deaf(), after)
    registry.emit(STARTED)
    registry.emit(STARTED)
    assert before.seen == after.seen == [STARTED, STARTED]
    complaints = [record.getMessage() for record in caplog.records if "plugin1" in record.getMessage()]
    (complaint,) = complaints
    assert "RuntimeError: no disk" in complaint


OBSERVER_MODULE = """
'''Counts events.'''
import mbk
seen = []
@mbk.hookimpl
def mbk_event(event): seen.append(event)
"""


def test_installed_observers_are_loaded_when_a_run_starts_and_a_broken_one_is_a_warning(
    install: Any, acme: None, caplog: pytest.LogCaptureFixture
) -> None:
    install("mbk-watch", {"mbk_watch": OBSERVER_MODULE}, plugin={"watch": "mbk_watch"})
    install("mbk-blind", {"mbk_blind": "import nowhere"}, plugin={"blind": "mbk_blind"})
    registry = Registry(disabled=())
    with caplog.at_level(logging.WARNING):
        registry.start()
    registry.emit(STARTED)
    assert registry.open(choice())
    assert sys.modules["mbk_watch"].seen == [STARTED]
    (warning,) = (record.getMessage() for record in caplog.records)
    assert "'blind' (mbk-blind 1.5)" in warning
    assert "ModuleNotFoundError: No module named 'nowhere'" in warning


# --- describing


def test_plugins_are_described_with_their_distribution_and_state(install: Any, acme: None) -> None:
    install("mbk-bad", {"mbk_bad": "1 / 0"}, storage={"bad": "mbk_bad", "worse": "mbk_bad"})
    install("mbk-watch", {"mbk_watch": OBSERVER_MODULE}, plugin={"watch": "mbk_watch"})
    infos = {info.name: info for info in Registry(disabled=()).describe()}
    acme_info, bad, watch = infos["acme"], infos["bad"], infos["watch"]
    assert (acme_info.aliases, acme_info.distribution, acme_info.version) == (
        ("acme-cloud",),
        "mbk-acme",
        "1.5",
    )
    assert (acme_info.ready, acme_info.install, acme_info.problem) == (True, "", "")
    assert (bad.ready, bad.aliases) == (False, ("worse",))
    assert "ZeroDivisionError" in bad.problem
    assert (watch.kind, watch.ready, watch.summary) == ("plugin", True, "Counts events.")


def test_a_missing_sdk_is_described_by_the_pip_install_that_brings_it() -> None:
    registry = registry_with(Acme(extra="acme[sdk]", requires=("no_such.sdk",)))
    info = next(info for info in registry.describe() if info.name == "acme")
    assert (info.ready, info.install, info.problem) == (False, "pip install 'acme[sdk]'", "")


def test_a_name_that_the_module_does_not_offer_is_described_as_a_problem(install: Any) -> None:
    from_conftest = "from mbk_acme_copy import *"
    install("mbk-x", {"mbk_acme_copy": "", "mbk_x": from_conftest}, storage={"ghost": "mbk_x"})
    info = next(info for info in Registry(disabled=()).describe() if info.name == "ghost")
    assert not info.ready
    assert "does not provide this storage" in info.problem
