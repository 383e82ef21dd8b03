"""The live console: choose a config, launch its runner, watch it, halt it.

The runner is a process of its own. The console only asks it and reads its journal: the death of the kernel leaves the
runner trading, and a console that is made again attaches to it. One figure widget is made, for life; a thread looks
twice a second and shows the latest, whatever came in between. Buttons may be heard on any thread and work on threads of
their own, so that no cell waits for them and a halt waits for nothing. A busy kernel hears no button: `flea halt` does
not need it.
"""

import threading
import weakref
from collections.abc import Callable, Mapping
from html import escape
from pathlib import Path
from typing import Any, get_args

import ipywidgets as widgets

from flea_lab.clock import Stopwatch
from flea_lab.config import RunConfig, load
from flea_lab.errors import ConfigError, FleaError, WorkspaceError
from flea_lab.live.account import JOURNAL, account_folder
from flea_lab.live.control_client import Latch
from flea_lab.live.halt import Halted
from flea_lab.live.launcher import VENUES, Session, launch
from flea_lab.live.lock import holder
from flea_lab.live.own_sandbox import FILE, current, end_own_sandbox, family, start_own_sandbox, unused
from flea_lab.live.watch import Seen, Watch
from flea_lab.view.live_choice import Choice, choice_of, config_of, promoted_choices
from flea_lab.view.live_figure import feed_figure, live_figure
from flea_lab.view.live_html import HALTED, fills_html, mark_html, message_html, note_html, status_html

PERIOD_S = 0.5
"""Between two looks: a browser falls behind a figure that is sent more often."""

_OPEN: "weakref.WeakValueDictionary[str, LiveConsole]" = weakref.WeakValueDictionary()


class LiveConsole:
    """Widgets over the sessions of one account name. `widget` is what a notebook shows; the methods do what the buttons
    do, wait for it, and raise what goes wrong.

    `config` is chosen at first: the name of a promotion, or a file or `RunConfig`, which trades as UNPROMOTED. Every
    launch starts a sandbox of its own that plays the config's market at `pace` for `days` (see `start_sandbox`) and
    takes the next free name `account`, `account-2`; with `url` there is an exchange already, and `account` has its key.
    `report` writes the report of an account's session and gives its folder (`report.session_run.run_session_report`).
    """

    def __init__(
        self,
        config: RunConfig | Path | str | None = None,
        *,
        account: str = "main",
        venue: str = "sandbox",
        pace: str | float = 60.0,
        days: float | None = 1.0,
        options: Mapping[str, object] | None = None,
        url: str | None = None,
        report: Callable[[str], Path] | None = None,
    ) -> None:
        self._name, self._url, self._report = account, url, report
        self._market: dict[str, Any] = dict(pace=pace, days=days, options=options)
        self._lock, self._working, self._closed = threading.Lock(), threading.Lock(), threading.Event()
        self._painted: tuple[Any, ...] = ()
        self._reported = ""
        self._was_alive = False
        self._end_left_over()
        self._watch = Watch(Session(current(account)))
        self._build(config, venue)
        self.refresh()
        if self._was_alive:
            self._say(f"attached to the runner of account {self.session.account}, pid {self.session.pid}", "good")
        before = _OPEN.get(account)
        if before is not None:
            before.close()
        _OPEN[account] = self
        self._finalizer = weakref.finalize(self, _close, self._closed, self._parts())
        self._finalizer.atexit = False
        threading.Thread(target=_follow, args=(weakref.ref(self), self._closed), daemon=True, name="console").start()

    # ---- what the buttons do

    @property
    def session(self) -> Session:
        """The session that is shown: the running one, else the last."""
        return self._watch.session

    def launch(self) -> Session:
        """The session of a runner of what is chosen, once it answers; the running one, where there is one."""
        choice = self._choice()
        if self.session.alive:
            return self.session
        account = self._name if self._url is not None else unused(self._name)
        url = self._url
        self._say(f"starting account {account} ...")
        try:
            if url is None:
                url = start_own_sandbox(account, config_of(choice), **self._market).url
            session = launch(
                choice.what, venue=self.venue.value, account=account, url=url, unpromoted=not choice.promoted
            )
        except BaseException:
            end_own_sandbox(account)
            raise
        with self._lock:
            self._watch, self._was_alive = Watch(session), True
        self._say(f"launched account {account}, pid {session.pid}", "good")
        return session

    def halt(self, reason: str = "halted from the console") -> Halted:
        """What became of a halt; "verified" only once the exchange has no open order."""
        self._say("halting ...")
        found = self.session.halt(reason)
        if found.outcome == "verified":
            self._say(HALTED, "good")
        elif found.outcome == "open":
            self._say(f"the halt stands, NOT VERIFIED: {found.open_orders} orders may be open at the exchange", "bad")
        else:
            self._say(f"not halted by a runner: {found.why}; the HALT file keeps it from trading", "bad")
        return found

    def resume(self, by: str, phrase: str = "") -> dict[str, Any]:
        """What the runner says once every latch that a person may clear is cleared in the name of `by`, who typed
        `phrase`; the error states it where they did not."""
        if not by.strip():
            raise ConfigError("a resume is signed: type your name first")
        closed = self.session.status().get("latches", ())
        clear: list[Latch] = [name for name in get_args(Latch) if name in closed]
        if not clear:
            raise ConfigError(f"account {self.session.account}: no latch that a person may clear")
        said = self.session.resume(clear, by.strip(), phrase=phrase)
        self._say(f"resumed by {by.strip()}: {', '.join(clear)} cleared", "good")
        return said

    def stop(self) -> bool:
        """Whether the runner ended, in order: no new orders, open ones taken back, journal closed."""
        self._say("stopping ...")
        ended = self.session.stop()
        if ended:
            end_own_sandbox(self.session.account)
            self._say(f"stopped account {self.session.account}", "good")
        else:
            self._say("asked to stop; the runner has not ended yet", "bad")
        return ended

    def wait_for_fills(self, fills: int = 1, *, timeout_s: float = 60.0) -> int:
        """How many fills the session has, once it has `fills`; `WorkspaceError` where it ends, or takes longer."""
        watch, pause = Stopwatch(), threading.Event()
        while self.session.alive and watch.elapsed_s() < timeout_s:
            found = int(self.session.status().get("fills", 0))
            if found >= fills:
                return found
            pause.wait(0.1)
        why = f"none came within {timeout_s:g} s" if self.session.alive else f"it ended: {self._watch.look().note}"
        raise WorkspaceError(f"account {self.session.account}: fewer than {fills} fills, {why}")

    def report(self) -> Path:
        """The page of the session's report, written now from its journal, while it runs as well."""
        if self._report is None:
            raise ConfigError("this console was given nothing that writes a report: flea session")
        account = self.session.account
        self._say("writing the session report ...")
        folder = self._report(account)
        page = folder / "report.html"
        self._reported = account
        self.link.value = f"session report: <a href='{escape(page.as_uri())}' target='_blank'>{escape(str(page))}</a>"
        self._say("the session report is written", "good")
        return page

    def refresh(self) -> Seen:
        """What the session is now, shown as well. The console's own thread does this twice a second."""
        with self._lock:
            seen = self._watch.look()
            ended, self._was_alive = self._was_alive and not seen.alive, seen.alive
            self._paint(seen)
        if ended:
            end_own_sandbox(self.session.account)
            self._say(f"the runner of account {self.session.account} ended: {seen.note}")
        return seen

    def close(self) -> None:
        """Stops looking and lets the widgets go. The runner is not touched."""
        self._finalizer()

    def _repr_mimebundle_(self, **given: Any) -> Any:
        return self.widget._repr_mimebundle_(**given)

    # ---- widgets

    def _build(self, config: RunConfig | Path | str | None, venue: str) -> None:
        wide, row = widgets.Layout(width="300px"), widgets.Layout(flex_flow="row wrap", align_items="center")
        given = [] if config is None else [choice_of(config)]
        self._choices = {one.label: one for one in [*promoted_choices(), *given]}
        chosen = given[0].label if given else None
        self.config = widgets.Dropdown(options=list(self._choices), value=chosen, layout=wide)
        self.file = widgets.Text(placeholder="or a config file, unpromoted", continuous_update=False, layout=wide)
        self.venue = widgets.ToggleButtons(options=VENUES, value=venue, style={"button_width": "80px"})
        self.symbol = widgets.Dropdown(options=[], layout=widgets.Layout(width="130px"))
        self.by = widgets.Text(placeholder="your name, to resume", layout=widgets.Layout(width="190px"))
        self.phrase = widgets.Text(placeholder="clear LATCH of ACCOUNT", layout=widgets.Layout(width="220px"))
        self.buttons = {
            "launch": widgets.Button(description="Launch", button_style="primary"),
            "halt": widgets.Button(description="HALT", button_style="danger"),
            "stop": widgets.Button(description="Stop"),
            "resume": widgets.Button(description="Resume"),
            "report": widgets.Button(description="Report"),
        }
        self.mark, self.status, self.message, self.fills, self.link = (widgets.HTML() for _ in range(5))
        self.figure = live_figure()
        buttons = [self.buttons[name] for name in ("halt", "stop", "resume")]
        self._rows = [
            widgets.HBox([self.config, self.file, self.venue], layout=row),
            widgets.HBox([self.buttons["launch"], *buttons[:2], self.by, self.phrase, buttons[2]], layout=row),
            widgets.HBox([widgets.HTML(note_html("price of")), self.symbol]),
            widgets.HBox([self.link, self.buttons["report"]] if self._report else [self.link]),
        ]
        above, below = [*self._rows[:2], self.mark, self.status, self.message], [self.fills, self._rows[3]]
        self.widget = widgets.VBox([*above, self._rows[2], self.figure, *below])
        self.widget.add_class("flea-live-console")
        self._listen()

    def _listen(self) -> None:
        """Handlers that do not hold the console: one that nobody has any more is let go."""
        does: dict[str, Callable[[LiveConsole], Any]] = {
            "launch": LiveConsole.launch,
            "halt": LiveConsole.halt,
            "stop": LiveConsole.stop,
            "resume": lambda console: console.resume(console.by.value, console.phrase.value),
            "report": LiveConsole.report,
        }
        ref = weakref.ref(self)

        def told(name: str) -> None:
            console = ref()
            if console is not None:
                console._in_background(does[name], waits=name != "halt")

        def changed(what: Callable[[LiveConsole], Any]) -> None:
            console = ref()
            if console is not None:
                what(console)

        for name, button in self.buttons.items():
            button.on_click(lambda _, name=name: told(name))
        self.file.observe(lambda _: changed(LiveConsole._take_file), "value")

    def _in_background(self, work: "Callable[[LiveConsole], Any]", *, waits: bool) -> None:
        threading.Thread(target=self._do, args=(work, waits), daemon=True, name="console button").start()

    def _do(self, work: "Callable[[LiveConsole], Any]", waits: bool) -> None:
        if waits and not self._working.acquire(blocking=False):
            self._say("still busy with the last button", "bad")
            return
        try:
            work(self)
        except FleaError as error:
            self._say(str(error), "bad")
        except Exception as error:  # shown: a thread has nobody else to tell
            self._say(f"{type(error).__name__}: {error}", "bad")
        finally:
            if waits:
                self._working.release()

    def _take_file(self) -> None:
        """Puts the file that was typed among the configs, and chooses it."""
        if not self.file.value.strip():
            return
        path = Path(self.file.value.strip()).expanduser()
        try:
            load(path)
        except FleaError as error:
            self._say(str(error), "bad")
            return
        choice = choice_of(path)
        self._choices[choice.label] = choice
        self.config.options = list(self._choices)
        self.config.value = choice.label

    def _choice(self) -> Choice:
        if self.config.value is None:
            raise ConfigError("nothing is chosen: flea promote a run, or name a config file, which is UNPROMOTED")
        return self._choices[self.config.value]

    def _say(self, text: str, kind: str = "") -> None:
        self.message.value = message_html(text, kind)

    def _paint(self, seen: Seen) -> None:
        account = self.session.account
        said = seen.status
        busy = self._working.locked()
        self.status.value = status_html(seen, account)
        self.fills.value = fills_html(seen.fills, seen.filled)
        self.mark.value = self._mark(said)
        for name, off in {
            "launch": seen.alive or busy,
            "halt": not seen.alive and not busy,
            "stop": not seen.alive,
            "resume": not said.get("latches"),
            "report": self._report is None or not seen.filled,
        }.items():
            self.buttons[name].disabled = off
        if account != self._reported:
            pid = f", pid {said['pid']}" if "pid" in said else ""
            self.link.value = note_html(f"account {account}{pid}; its report: flea session {account}")
        symbols = list(said.get("positions") or seen.prices)
        if symbols and list(self.symbol.options) != symbols:
            self.symbol.options = symbols
        if symbols and self.symbol.value is None:  # a page that shows an empty list answers that nothing is chosen
            self.symbol.value = symbols[0]
        last = {symbol: line[0][-1] for symbol, line in seen.prices.items() if len(line[0])}
        drawn = (account, self.symbol.value, seen.filled, last, seen.equity[0][-1:].tolist())
        if drawn != self._painted:
            feed_figure(self.figure, seen, self.symbol.value)
            self._painted = drawn

    def _mark(self, said: Mapping[str, Any]) -> str:
        if "promoted" in said:
            return mark_html(bool(said["promoted"]), str(said.get("config", "?")))
        if self.config.value is None:
            return ""
        choice = self._choices[self.config.value]
        return mark_html(choice.promoted, choice.name)

    def _parts(self) -> list[widgets.Widget]:
        inner = [part for row in self._rows for part in row.children]
        return [*inner, *self.widget.children, self.widget]

    def _end_left_over(self) -> None:
        """Ends sandboxes whose runner has come and gone while nobody looked."""
        for account in family(self._name):
            folder = account_folder(account)
            if (folder / FILE).exists() and (folder / JOURNAL).exists() and holder(folder) is None:
                end_own_sandbox(account)


def _follow(ref: "weakref.ref[LiveConsole]", closed: threading.Event) -> None:
    """Refreshes the console until it is closed, or nobody has it any more."""
    while not closed.wait(PERIOD_S):
        console = ref()
        if console is None:
            return
        try:
            console.refresh()
        except Exception as error:  # told, and tried again: the runner goes on whatever the page does
            console._say(f"the console could not look: {type(error).__name__}: {error}", "bad")
        del console


def _close(closed: threading.Event, parts: list[widgets.Widget]) -> None:
    closed.set()
    for part in reversed(parts):
        part.close()
