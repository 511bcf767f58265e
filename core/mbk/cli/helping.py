"""What the help of a command shows beside its options: their groups, examples, and where to read more."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import click

from mbk.about import PAGES

#: Where the groups of options stand, by the options' names. Those in none are listed first.
GROUPS: Mapping[str, tuple[str, ...]] = {
    "Selection": (
        "filter", "exclude", "source_filter", "source_exclude", "meta_only", "aliases", "rbac", "index_extra",
        "allow_missing",
    ),
    "Targets": (
        "suffix", "rename", "drop_existing", "skip_create", "append", "follow_alias", "max_shards", "skip_params",
        "ezk_mapping",
    ),
    "Rules": (
        "keep_last", "keep_within", "keep_hourly", "keep_daily", "keep_weekly", "keep_monthly", "keep_yearly",
        "keep_labels", "time_zone",
    ),
    "Indexes and loading": ("rebuild_index", "auto_index", "drop_index", "wait_index", "load"),
    "Data": (
        "strategy", "format", "incremental", "layout", "checksum", "pause_gc", "rest_import", "truncate", "verify", "salvage", "no_cut",
    ),
    "Run": (
        "resume", "fail_fast", "max_rate", "max_bandwidth", "probe", "prices", "dry_run", "yes", "metrics_file",
        "push_gateway",
    ),
    "Configuration": ("config", "sets", "storage", "backup_storage"),
    "Output": ("output", "progress", "log_format", "verbose", "quiet"),
}  # fmt: skip
_OTHERS = "Options"

#: By command, each with what it does if the command does not say it.
EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "": (
        "mbk config init",
        "mbk check",
        "mbk create -n nightly",
        "mbk restore -n nightly -s _restored --rebuild-index",
    ),
    "create": (
        "mbk create -n nightly",
        "mbk create -n shop --filter 'shop.*,default.users' --exclude 'shop.tmp_*'",
        "mbk create -n nightly --resume",
    ),
    "list": ("mbk list --since 7d --sort size", "mbk list --latest -q", "mbk list -c shop.orders -o json"),
    "get": ("mbk get -n nightly", "mbk get -n nightly -d -o table"),
    "restore": (
        "mbk restore -n nightly -s _restored --rebuild-index",
        "mbk restore -n nightly --filter 'shop.*' -r 'shop.*:shop2.*' --rebuild-index --load",
        "mbk restore -n nightly --drop-exist-collection --dry-run",
    ),
    "restore secondary": (
        "mbk restore secondary -n nightly --source-cluster-id prod --target-cluster-id standby",
    ),
    "verify": ("mbk verify -n nightly", "mbk verify --all --depth contents --sample 10%"),
    "cp": (
        "mbk cp nightly archive@nightly",
        "mbk cp nightly ./offsite/nightly",
        "mbk cp nightly ./offsite/nightly --layout classic",
    ),
    "import": ("mbk import -n nightly --dry-run", "mbk import -n nightly --yes"),
    "ls": ("mbk ls nightly --recursive --long", "mbk ls archive@nightly"),
    "delete": ("mbk delete -n nightly", "mbk delete -n nightly --dry-run"),
    "undelete": ("mbk undelete -n nightly --dry-run", "mbk undelete -n nightly"),
    "pin": ("mbk pin -n before_upgrade --until 90d", "mbk pin -n before_upgrade --remove"),
    "prune": (
        "mbk prune --keep-last 3 --keep-daily 7 --keep-weekly 4 --dry-run",
        "mbk prune --filter team=search --keep-within 30d --yes",
    ),
    "gc": ("mbk gc --dry-run", "mbk gc --grace 2d --yes"),
    "l0compact": ("mbk l0compact -n nightly -o nightly_compacted",),
    "migrate": ("mbk migrate -n nightly --cluster-id in01-0123456789abcde",),
    "check": ("mbk check", "mbk check --for restore"),
    "plan create": ("mbk plan create --filter 'shop.*'",),
    "plan restore": ("mbk plan restore -n nightly -s _restored",),
    "plan cp": ("mbk plan cp nightly archive@nightly",),
    "plan verify": ("mbk plan verify -n nightly --depth contents",),
    "server": ("mbk server", "mbk server --host 0.0.0.0 --port 8080", "mbk server --new-token ci"),
    "config init": ("mbk config init", "mbk config init --format v1 classic.yaml"),
    "config show": ("mbk config show", "mbk config show -o json"),
    "config migrate": ("mbk --config backup.yaml config migrate -o backup-v2.yaml",),
    "plugins": ("mbk plugins",),
    "plugin list": ("mbk plugin list",),
    "plugin new": ("mbk plugin new acme", "mbk plugin new acme --dir plugins/acme"),
    "plugin check": ("mbk plugin check ./mbk-acme", "mbk --backup-storage local plugin check local"),
    "completion": ("mbk completion bash > ~/.local/share/bash-completion/completions/mbk",),
    "demo": ("mbk demo", "mbk --config backup.yaml demo --rows 100"),
    "version": ("mbk version",),
}


class Helpful(click.Command):
    """Options by groups, examples and a link in the help of a command."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # From click 8.5 on, arguments are listed by `format_arguments`.
        listed = click.Option if hasattr(click.Command, "format_arguments") else click.Parameter
        for title, options in _grouped(item for item in self.get_params(ctx) if isinstance(item, listed)):
            rows = [row for option in options if (row := option.get_help_record(ctx)) is not None]
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)
        if isinstance(self, click.Group):
            self.format_commands(ctx, formatter)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        path = path_of(ctx)
        if examples := EXAMPLES.get(path):
            with formatter.section("Examples"):
                for line in examples:
                    formatter.write(f"{'':{formatter.current_indent}}{line}\n")
        super().format_epilog(ctx, formatter)
        formatter.write(f"\n  More: {page_of(path)}\n")


def path_of(context: click.Context) -> str:
    """``config init`` for ``mbk config init``; empty for ``mbk`` itself."""
    return context.command_path.partition(" ")[2]


def page_of(path: str) -> str:
    """The section of the reference about a command."""
    if path not in EXAMPLES or not path:
        return f"{PAGES}/reference/cli.md"
    section = "plan" if path.startswith("plan ") else path
    return f"{PAGES}/reference/cli.md#mbk-{section.replace(' ', '-')}"


def _grouped(options: Iterable[click.Parameter]) -> Iterator[tuple[str, list[click.Parameter]]]:
    group_of = {name: title for title, names in GROUPS.items() for name in names}
    found: dict[str, list[click.Parameter]] = {title: [] for title in (_OTHERS, *GROUPS)}
    for option in options:
        found[group_of.get(option.name or "", _OTHERS)].append(option)
    yield from found.items()
