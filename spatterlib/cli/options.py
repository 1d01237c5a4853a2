"""Command-line options generated from the dataclasses of the plugins that are chosen."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from spatterlib.cli import config
from spatterlib.common.record_options import flag_of, option_of
from spatterlib.common.records import hints_of
from spatterlib.detection.defaults import DETECTOR, FILTERS, ORIGINAL
from spatterlib.errors import UsageError
from spatterlib.plugins.registry import KINDS, catalog, make

__all__ = ["PluginCommand", "chosen", "named", "settings", "with_parameters"]

_META = "spatterlib.plugin_options"


@dataclasses.dataclass(frozen=True)
class _Parameter:
    """One parameter of one chosen plugin, and its option."""

    kind: str
    index: int
    id: str
    field: str
    option: click.Option


class PluginCommand(click.Command):
    """A command with options for the parameters of the detector and the filters that are chosen.

    ``--threshold 25`` belongs to the detector that `--detector` names; where two chosen plugins share a
    parameter's name, or the command has an option of that name, the option is ``--ID-NAME``.
    """

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Look ahead for the plugins, then parse with their options."""
        ctx.meta[_META] = _parameters(chosen(_look_ahead(args, self.name)), super().get_params(ctx))
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            raise _explained(error, ctx.meta[_META]) from error

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        """Its own parameters, then the generated ones."""
        own = super().get_params(ctx)
        return [*own[:-1], *(item.option for item in ctx.meta.get(_META, ())), own[-1]]

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Own options first, then a section per plugin."""
        generated: list[_Parameter] = ctx.meta.get(_META, [])
        hidden = {id(item.option) for item in generated}
        own = [param.get_help_record(ctx) for param in self.get_params(ctx) if id(param) not in hidden]
        with formatter.section("Options"):
            formatter.write_dl([record for record in own if record])
        for kind, name in dict.fromkeys((item.kind, item.id) for item in generated):
            records = [item.option.get_help_record(ctx) for item in generated if (item.kind, item.id) == (kind, name)]
            with formatter.section(f"Options of {kind} {name}"):
                formatter.write_dl([record for record in records if record])


def chosen(settings: Mapping[str, Any]) -> list[tuple[str, int, Any]]:
    """(kind, index, spec) of the plugins in settings, defaults where they name none."""
    filters = settings.get("filters", FILTERS)
    return [
        ("detector", 0, settings.get("detector", DETECTOR)),
        *(("filter", i, spec) for i, spec in enumerate(filters)),
    ]


def _look_ahead(args: list[str], section: str | None) -> dict[str, Any]:
    """Settings that choose plugins, from arguments that are not parsed yet; errors are left to the parser."""
    found: dict[str, list[str]] = {"--detector": [], "--filter": [], "--config": []}
    for index, arg in enumerate(args):
        name, equals, value = arg.partition("=")
        if name in found and (equals or index + 1 < len(args)):
            found[name].append(value if equals else args[index + 1])
    return settings(
        found["--config"][-1] if found["--config"] else None,
        original="--original" in args,
        given={
            **({"detector": found["--detector"][-1]} if found["--detector"] else {}),
            **({"filters": named(found["--filter"])} if found["--filter"] else {}),
        },
        section=section,
    )


def named(filters: Sequence[str]) -> list[str]:
    """What `--filter` said: ids, or ``none``, which stands alone, for no filter at all.

    Raises
    ------
    UsageError
        If it stands beside others.

    Examples
    --------
    >>> from spatterlib.cli.options import named
    >>> named(["none"]), named(["area", "black"])
    ([], ['area', 'black'])
    """
    if "none" in filters and len(filters) > 1:
        raise UsageError(f"--filter none leaves nothing for other filters, got {', '.join(filters)}")
    return [] if "none" in filters else list(filters)


def settings(
    config_file: str | None, *, original: bool, given: Mapping[str, Any], section: str | None = None
) -> dict[str, Any]:
    """Settings of `extract`: the file's, over them its other `section`'s, the original script's, those given."""
    content = config.load(config_file)
    own = {key: value for key, value in content.get(section or "", {}).items() if key in config.KEYS}
    return config.merge(content.get("extract", {}), own, ORIGINAL if original else {}, given)


def with_parameters(ctx: click.Context, settings: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with the values of the generated options laid over their plugins."""
    result = dict(settings)
    for kind, index, spec in chosen(settings):
        items = [item for item in ctx.meta[_META] if (item.kind, item.index) == (kind, index)]
        given = {item.field: values[item.option.name] for item in items if values[item.option.name or ""] is not None}
        if given and kind == "detector":
            result["detector"] = make(kind, spec, **given)
        elif given:
            filters = list(result.get("filters", FILTERS))
            filters[index] = make(kind, spec, **given)
            result["filters"] = filters
    return result


def _parameters(plugins: list[tuple[str, int, Any]], own: list[click.Parameter]) -> list[_Parameter]:
    fields = [
        (kind, index, id_, class_, item)
        for kind, index, spec in plugins
        for id_, class_ in [_class(kind, spec)]
        for item in dataclasses.fields(class_)
        if item.init
    ]
    flags = Counter(flag_of(item) for *_, item in fields)
    flags.update(flag for param in own for flag in {*param.opts, *param.secondary_opts})
    found = []
    for kind, index, id_, class_, item in fields:
        flag = flag_of(item)
        prefix = f"{id_}-" if flags[flag] > 1 else ""
        name = f"{prefix}{item.name}_{index}_of_plugin".replace("-", "_")
        option = option_of(item, hints_of(class_)[item.name], flag=f"--{prefix}{flag[2:]}", name=name)
        found.append(_Parameter(kind, index, id_, item.name, option))
    return found


def _class(kind: str, spec: Any) -> tuple[str, type]:
    id_ = spec if isinstance(spec, str) else spec.get("id", "") if isinstance(spec, Mapping) else ""
    named = isinstance(spec, str | Mapping)
    return (id_, catalog().find(kind, id_)) if named else (type(spec).__name__, type(spec))


def _explained(error: click.NoSuchOption, there: Sequence[_Parameter]) -> click.UsageError:
    """Tell whose option it is: a plugin's that is not chosen, or several plugins' that are."""
    name = error.option_name.lstrip("-").replace("-", "_")
    if shared := [item.option.opts[0] for item in there if item.field == name]:
        return click.UsageError(f"{error.option_name} is a parameter of several: use {' or '.join(shared)}", error.ctx)
    for kind, id_, class_ in _all_classes():
        if name in (parameter.name for parameter in dataclasses.fields(class_)):
            return click.UsageError(f"{error.option_name} belongs to {kind} {id_!r}; add --{kind} {id_}", error.ctx)
    return error


def _all_classes() -> Iterator[tuple[str, str, Any]]:
    for kind in ("detector", "filter"):
        for id_, class_ in getattr(catalog(), KINDS[kind]).items():
            yield kind, id_, class_
