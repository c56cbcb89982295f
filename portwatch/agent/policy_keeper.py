"""Keeps the policy in force what its files, the accounts they name, and other processes say.

What is wrong with a new policy is told, and the one in force stays.
"""

from __future__ import annotations

import logging
import selectors
import time
from collections.abc import Callable

from portwatch.agent.clock import Clock
from portwatch.agent.events.format import Event
from portwatch.agent.identity.account_watch import AccountWatch
from portwatch.agent.identity.account_words import AccountWords, accounts_of
from portwatch.agent.path_watch import PathWatch
from portwatch.agent.policy_source import LoadedPolicy, PolicySource
from portwatch.agent.publisher import Publisher, now_stored
from portwatch.agent.state import AgentState, Refusal
from portwatch.errors import PolicyError, PortwatchError
from portwatch.node.accounts import AccountTable

log = logging.getLogger(__name__)

Remember = Callable[[LoadedPolicy], None]
"""Keeps a good version of the policy's files for the next boot."""

MAX_ERRORS = 100
"""Of a refused policy, kept for who asks later; the log and the event have them all."""


class PolicyKeeper:
    """Call `tick()` after every wake-up; `published` is called after each new policy."""

    def __init__(
        self,
        source: PolicySource,
        publisher: Publisher,
        state: AgentState,
        clock: Clock,
        selector: selectors.BaseSelector,
        tell: Callable[[Event], None],
        published: Callable[[], None],
        remember: Remember | None = None,
    ) -> None:
        self._source = source
        self._publisher = publisher
        self._state = state
        self._clock = clock
        self._tell = tell
        self._published = published
        self._remember = remember
        self._reload_wanted = False
        self._renewal_refused = False
        self._accounts = AccountWatch(selector, self._renew)
        self._watch = PathWatch([source.watched])
        selector.register(self._watch, selectors.EVENT_READ, self._notice)

    def publish(self, loaded: LoadedPolicy, accounts: AccountTable | None = None) -> None:
        """Put a checked policy in force and tell of it; PolicyError where it does not fit. The
        accounts that it names are looked up where they are not given."""
        self._put_in_force(loaded, accounts)
        self._accept()

    def _put_in_force(self, loaded: LoadedPolicy, accounts: AccountTable | None) -> None:
        accounts = accounts or accounts_of(loaded.policy)
        stored = now_stored(loaded.sources, loaded.origin, loaded.mode)
        published = self._publisher.publish(loaded.policy, stored, accounts)
        self._accounts.follow(AccountWords.of(loaded.policy), accounts)
        self._published()
        policy = loaded.policy
        self._state.sha256 = policy.sha256
        self._state.mode = policy.mode
        self._state.source = loaded.origin
        self._state.constraints = len(policy.constraints)
        self._state.generation = published.generation
        self._state.enforcing = any(outcome.verdict == 1 for outcome in published.compiled.outcomes)
        self._tell(
            {
                "kind": "policy",
                "result": "loaded",
                "source": loaded.origin,
                "sha256": policy.sha256,
                "mode": policy.mode,
                "constraints": len(policy.constraints),
                "generation": published.generation,
            }
        )

    def _accept(self) -> None:
        self._state.last_load_successful = True
        self._state.last_load_success_seconds = self._clock.wall_ns() / 1e9
        self._state.refusal = None
        self._renewal_refused = False

    def refuse(self, err: PortwatchError) -> None:
        """Files that are no policy: what is in force stays; log, metrics and an event say why."""
        self._state.last_load_successful = False
        problems = [str(p) for p in err.problems] if isinstance(err, PolicyError) else [err.message]
        self._state.refusal = Refusal(self._clock.wall_ns() / 1e9, tuple(problems[:MAX_ERRORS]))
        log.error("the policy was refused, the last one stays in force:\n%s", "\n".join(problems))
        self._tell({"kind": "policy", "result": "refused", "errors": problems})

    def want_reload(self) -> None:
        """Load it again at the next tick, also where its files are what they were."""
        self._reload_wanted = True

    def renew(self) -> None:
        """Publish what is in force anew: who is who has changed, and programs remember verdicts."""
        self._renew(self._accounts.known)

    def adopt(self) -> None:
        """Another process's policy is ours from now on."""
        if self._publisher.superseded() and self._put_again(None):
            self._accept()

    def tick(self, now: float) -> bool:
        """Load what has changed and is at rest: True where something was read. `now` is monotonic,
        in seconds."""
        is_due = self._watch.settled(now) or self._reload_wanted
        if is_due:
            wanted, self._reload_wanted = self._reload_wanted, False  # another may come meanwhile
            self._reload(even_unchanged=wanted)
        self._accounts.tick(now)
        return is_due

    def close(self) -> None:
        """Watch no more; what is in force stays."""
        self._accounts.close()
        self._watch.close()

    def _notice(self) -> None:
        self._watch.notice(time.monotonic())

    def _reload(self, even_unchanged: bool) -> None:
        """SIGHUP loads an unchanged policy again too: users and groups may have changed."""
        try:
            loaded = self._source.load()
            if even_unchanged or loaded.policy.sha256 != self._state.sha256:
                self.publish(loaded)
            else:
                self._state.last_load_successful = True
                self._state.refusal = None
            if self._remember:
                self._remember(loaded)
        except PortwatchError as err:
            self._renewal_refused = False
            self.refuse(err)

    def _renew(self, accounts: AccountTable) -> None:
        """What is in force, anew for these accounts; another's policy may name more of them. Files
        that were refused stay so."""
        if self._publisher.superseded():
            return
        before = self._state.refusal
        if not self._put_again(accounts):
            self._renewal_refused |= before is None
        elif self._renewal_refused:
            self._accept()

    def _put_again(self, accounts: AccountTable | None) -> bool:
        """Whether what is in force, if anything, was not refused."""
        stored = self._publisher.stored()
        if stored is None:
            return True
        try:
            loaded = LoadedPolicy.parse(stored.sources, stored.origin, stored.mode)
            self._put_in_force(loaded, accounts)
        except PortwatchError as err:
            self.refuse(err)
            return False
        return True
