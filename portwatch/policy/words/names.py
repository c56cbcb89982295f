"""What a user may call a constraint, a definition or a catalog set."""

from __future__ import annotations

import re

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}", re.ASCII)
NAME_RULE = "letters, digits, `.`, `_` and `-`, at most 63, a letter or digit first"
