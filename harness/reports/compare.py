"""A comparison on the terminal: what changed, worst first, with both observations side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.text import Text

from harness.compare.comparison import Comparison, counted, of_probes, phrase, rule_phrase, side_label, word
from harness.compare.diff import CHANGES, ORDER, Change, Pair, ProbeChange, RuleChange, told
from harness.compare.series import Stretch, VersionSeries
from harness.compare.sides import apart
from harness.reports.style import MARKS, Page
from harness.runs.causes import ReportedCause
from harness.runs.cells import plural

_IN, _DEEP, _DEEPER = 2, 6, 8
_FEW = 3  # pairs of cells without a change that are told one by one
_ALIKE: Mapping[bool, str] = {False: "nothing changed", True: "alike"}  # by whether machines stand side by side
_STYLES: Mapping[Change, str] = {
    "introduced": "bold red",
    "unstable": "bold red",
    "lost coverage": "bold magenta",
    "flaky": "magenta",
    "changed": "yellow",
    "fixed": "green",
    "gained": "cyan",
    "unchanged": "dim",
}
_ALWAYS: frozenset[Change] = frozenset({"introduced", "lost coverage"})
# Changes of this kind are told in full; the others by their rules' names unless every detail is asked for.
_BRIEF: frozenset[Change] = frozenset({"gained"})


@dataclass(frozen=True, eq=False)
class News:
    """One change of one rule, and all pairs of cells that show it."""

    change: RuleChange
    pairs: tuple[Pair, ...]


def news(pairs: Sequence[Pair]) -> list[News]:
    """Every change, worst first, the catalogue's order among equals; the same change on several cells is told once."""
    groups: dict[tuple[object, ...], list[tuple[Pair, RuleChange]]] = {}
    for pair in pairs:
        for change in pair.rules:
            if (worst := change.worst) is not None:
                key = (change.rule.id, change.change, worst.probe, phrase(pair, worst), _both(worst))
                groups.setdefault(key, []).append((pair, change))
    found = [News(group[0][1], tuple(pair for pair, _ in group)) for group in groups.values()]
    return sorted(found, key=lambda item: ORDER[item.change.change])


def _both(change: ProbeChange) -> tuple[str, str]:
    return told(change.before), told(change.after)


def print_comparison(
    console: Console, comparison: Comparison, *, every: bool = False, causes: Sequence[ReportedCause] = ()
) -> None:
    """Print a comparison. ``every``: each gained rule, and every probe that changed. ``causes`` were told above it: of
    what was introduced by them, only the rules are named."""
    page = Page(console)
    _heads(page, comparison)
    if comparison.series:
        for series in comparison.series:
            _series(page, series, every)
    else:
        _changes(page, comparison, every, causes)
    _unmatched(page, comparison)
    page.blank()
    page.line(last_line(page, comparison))


def _heads(page: Page, comparison: Comparison) -> None:
    if not comparison.series:
        listed = [(pair, _sums(pair)) for pair in comparison.pairs]
        quiet = [side_label(pair.after) for pair, changes in listed if not changes]
        if len(quiet) > _FEW:  # a night on which one kernel of fifty changed is not fifty lines
            page.line(f"{_ALIKE[comparison.what == 'across']}: {', '.join(quiet)}", style="bold")
        for pair, changes in listed:
            if changes or len(quiet) <= _FEW:
                old, new = side_label(pair.before), side_label(pair.after)
                runs = f" (run {pair.before.run} → {pair.after.run})" if pair.before.run != pair.after.run else ""
                page.line(f"{old} → {new}{runs}: {changes or _ALIKE[pair.across]}", style="bold")
    for remark in comparison.remarks:
        page.line(f"note: {remark}", style="yellow")


def _sums(pair: Pair) -> str:
    """``1 rule introduced, not clean``; "" when there is nothing to say of a pair."""
    changes = counted(pair.counts, "rule", across=pair.across)
    return ", ".join(filter(None, (changes, "the cell is not clean" if pair.after.trouble else "")))


def _changes(page: Page, comparison: Comparison, every: bool, causes: Sequence[ReportedCause]) -> None:
    found = news(comparison.pairs)
    across = comparison.what == "across"
    for change in CHANGES:
        items = [item for item in found if item.change.change == change]
        if items:
            page.head(word(change, across=across).capitalize())
        brief = [] if every else [item for item in items if change in _BRIEF or (across and _merely_skipped(item))]
        _brief(page, brief)
        skipped = [] if every else [item for item in items if item not in brief and _no_longer_applies(item)]
        _by_reason(page, skipped)
        explained = {} if every else {item: told for item in items if (told := _explained(item, causes))}
        _by_cause(page, explained)
        for item in items:
            if item not in brief and item not in skipped and item not in explained:
                _item(page, item, every)
    _divided(page, comparison.pairs, every)


def _divided(page: Page, pairs: Sequence[Pair], every: bool) -> None:
    """Nothing is promised of how a window is divided into mappings; that it differs is worth a line."""
    differing = [pair for pair in pairs if pair.divided]
    if differing:
        page.head("Observed differently: how windows are divided into mappings (no rule promises it)")
        legend = "each unit before > after: | a mapping begins there, . the mapping before goes on, - nothing is mapped"
        page.line(legend, _DEEP, "dim")
    for pair in differing:
        probes = list(pair.divided.items())
        old, new = side_label(pair.before), side_label(pair.after)
        page.line(f"{old} → {new}: {plural(len(probes), 'probe')}", _IN)
        for probe, (before, after) in probes if every else probes[:1]:
            page.line(f"{probe}: control, sealed {before} → {after}", _DEEP, "dim")


def _merely_skipped(item: News) -> bool:
    """What one machine does not offer is told by name; what it did not answer is told in full."""
    return item.change.change == "lost coverage" and not item.pairs[0].regressed_in(item.change)


def _no_longer_applies(item: News) -> bool:
    """Whether all that a rule lost is a skip with one reason; of what gave no answer each is told in full."""
    lost = [probe.after for probe in item.change.probes if probe.change == "lost coverage"]
    skipped = all(verdict is not None and verdict.status == "skip" for verdict in lost)
    return item.change.change == "lost coverage" and skipped and len({told(verdict) for verdict in lost}) == 1


def _by_reason(page: Page, items: Sequence[News]) -> None:
    """What a kernel does not offer has one reason for many rules: the reason once, then the rules it takes away."""
    groups: dict[tuple[str, str], list[str]] = {}
    for item in items:
        worst = item.change.worst
        assert worst is not None
        where = ", ".join(dict.fromkeys(_place(pair) for pair in item.pairs))
        lost, all_of = item.change.counts["lost coverage"], sum(item.change.counts.values())
        probes = plural(lost, "probe") if lost == all_of else of_probes(lost, item.change)
        reason = told(worst.after).removeprefix("skip: ")
        groups.setdefault((reason, where), []).append(f"{item.change.rule.id} ({probes})")
    for (reason, where), rules in groups.items():
        page.line(f"{page.ink.glyph('skip')} {reason} [{where}]", _IN, _STYLES["lost coverage"])
        page.line(f"{plural(len(rules), 'rule')}: {', '.join(rules)}", _DEEP)


def _explained(item: News, causes: Sequence[ReportedCause]) -> Mapping[ReportedCause, int]:
    """The causes told above that a rule's new failures are part of, and how many probes of each; none where a failure
    is part of none of them."""
    found: Counter[ReportedCause] = Counter()
    for probe in item.change.probes if item.change.change == "introduced" else ():
        if probe.change == "introduced":
            cause = next((one for one in causes if _is_part(item, probe, one)), None)
            if cause is None:
                return {}
            found[cause] += 1
    return found


def _is_part(item: News, probe: ProbeChange, one: ReportedCause) -> bool:
    failed = any((v.rule, v.probe) == (item.change.rule.id, probe.probe) for v in one.cause.verdicts)
    return failed and all(pair.after.cell in one.cells for pair in item.pairs)


def _by_cause(page: Page, explained: Mapping[News, Mapping[ReportedCause, int]]) -> None:
    """What a cause told above has introduced: its name, the rules, and how many of their probes lost coverage."""
    groups: dict[tuple[str, str], list[str]] = {}
    for item, told_causes in explained.items():
        where = ", ".join(dict.fromkeys(_place(pair) for pair in item.pairs))
        for one, number in told_causes.items():
            lost = item.change.counts.get("lost coverage", 0)
            more = f", {lost} lost coverage" if lost else ""
            name = f"{item.change.rule.id} ({of_probes(number, item.change)}{more})"
            groups.setdefault((one.cause.headline, where), []).append(name)
    for (headline, where), rules in groups.items():
        page.line(f"{page.ink.glyph('fail')} by the cause above: {headline} [{where}]", _IN, _STYLES["introduced"])
        page.line(f"{plural(len(rules), 'rule')}: {', '.join(rules)}", _DEEP)


def _brief(page: Page, items: Sequence[News]) -> None:
    groups: dict[str, list[str]] = {}
    for item in items:
        change = item.change
        probes = [probe for probe in change.probes if probe.change == change.change]
        for words, number in Counter(phrase(item.pairs[0], probe) for probe in probes).items():
            all_of = number == sum(change.counts.values())
            name = change.rule.id if all_of else f"{change.rule.id} ({of_probes(number, change)})"
            groups.setdefault(words, []).append(name)
    for words, rules in groups.items():
        page.line(f"{words}: {', '.join(dict.fromkeys(rules))}", _IN)


def _item(page: Page, item: News, every: bool) -> None:
    change, pair = item.change, item.pairs[0]
    rule, worst = change.rule, change.worst
    assert worst is not None
    where = ", ".join(dict.fromkeys(_place(pair) for pair in item.pairs))
    glyph = page.ink.glyph(worst.after.status if worst.after else "miss")
    head = f"{glyph} {rule.id} ({rule.contract}, {rule.level}): {rule_phrase(pair, change)}"
    page.line(f"{head} [{where}]", _IN, _STYLES[change.change])
    page.line(rule.statement, _DEEP, "dim")
    page.line(f"{counted(change.counts, across=pair.across)}, of {sum(change.counts.values())}", _DEEP)
    for probe in change.probes if every else change.probes[:1]:
        _probe(page, pair, probe)


def _place(pair: Pair) -> str:
    return pair.after.arch if pair.before.arch == pair.after.arch else f"{pair.before.arch}, {pair.after.arch}"


def _probe(page: Page, pair: Pair, probe: ProbeChange) -> None:
    names = apart(probe.since, pair.after)
    page.line(probe.probe, _DEEP)
    for name, verdict in zip(names, (probe.before, probe.after), strict=True):
        style = MARKS[verdict.status].style if verdict else "dim"
        page.line(f"{name:<{max(map(len, names))}}  {told(verdict)}", _DEEPER, style)
    for number, says in enumerate(probe.varied, 1):
        page.line(f"repeat {number}: {says}", _DEEPER)


def _series(page: Page, series: VersionSeries, every: bool) -> None:
    first, last = series.sides[0], series.sides[-1]
    what = " ".join(filter(None, (first.arch, first.flavour, "" if first.profile == "standard" else first.profile)))
    page.head(f"{what}: {plural(len(series.sides), 'kernel')}, {first.version} → {last.version}")
    page.line(" ".join(side.version for side in series.sides), _IN, "dim")
    changed = [(rule, found) for rule, found in series.rules.values() if len(found) > 1]
    brief: dict[str, list[str]] = {}
    for rule, stretches in sorted(changed, key=lambda entry: min(ORDER[s.change] for s in entry[1] if s.change)):
        if not every and all(stretch.change in (None, *_BRIEF) for stretch in stretches):
            brief.setdefault("; ".join(map(_span, stretches)), []).append(rule.id)
            continue
        page.line(f"{rule.id} ({rule.contract}, {rule.level})", _IN, "bold")
        for stretch in stretches:
            _stretch(page, stretch, every)
    for words, rules in brief.items():
        page.line(f"{words}: {', '.join(dict.fromkeys(rules))}", _IN)
    if not changed:
        page.line("nothing changed", _IN)


def _span(stretch: Stretch) -> str:
    """``6.12.43 … 6.16.12 (5 kernels): gained, pass``."""
    status = stretch.result.status if stretch.result else "not planned"
    end = f" … {stretch.last.version} ({stretch.kernels} kernels)" if stretch.kernels > 1 else ""
    began = f"{stretch.change}, " if stretch.change else ""
    return f"{stretch.first.version}{end}: {began}{status}"


def _stretch(page: Page, stretch: Stretch, every: bool) -> None:
    """A stretch and what began it: the probe with both its observations."""
    page.line(_span(stretch), _DEEP, _STYLES[stretch.change] if stretch.change else "")
    if stretch.step is None or stretch.step.worst is None:
        return
    counts = counted(stretch.step.counts)
    for i, probe in enumerate(stretch.step.probes if every else stretch.step.probes[:1]):
        page.line(
            f"{probe.probe}: {told(probe.before)} → {told(probe.after)}{'' if i else f' ({counts})'}", _DEEPER, "dim"
        )


def _unmatched(page: Page, comparison: Comparison) -> None:
    for title, sides in (
        ("Lost coverage: cells that are not there any more", comparison.only_before),
        ("Cells that are new", comparison.only_after),
        ("Cells without a place: no kernel could be had, so its version is unknown", comparison.left_out),
    ):
        if sides:
            page.head(title)
            page.line(", ".join(map(side_label, sides)), _IN)


def last_line(page: Page, comparison: Comparison) -> Text:
    """``84 rules, 7 comparisons: 1 introduced, 0 lost coverage, 83 unchanged``; a rule counts once for each pair."""
    rules = len({change.rule.id for pair in comparison.pairs for change in pair.rules})
    text = Text(f"{plural(rules, 'rule')}, {plural(len(comparison.pairs), 'comparison')}: ", style="bold")
    told_changes = [change for change in CHANGES if comparison.counts[change] or change in _ALWAYS]
    for i, change in enumerate(told_changes):
        number = comparison.counts[change]
        text.append(", " if i else "", style="not bold")
        name = word(change, across=comparison.what == "across")
        text.append(f"{number} {name}", style=_STYLES[change] if number else "dim")
    if unclean := sum(bool(pair.after.trouble) for pair in comparison.pairs):
        text.append(f"; {plural(unclean, 'cell')} not clean", style="bold magenta")
    return text
