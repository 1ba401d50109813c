"""Checks JSONata expressions before anything is started; the library is loaded on first use."""

from __future__ import annotations

import sys
from re import error as RegexError  # noqa: N812


def expression_problem(expression: str) -> str:
    """What is wrong with the text of a JSONata expression; empty when it parses."""
    limit = sys.getrecursionlimit()
    from jsonata import Jsonata
    from jsonata.jexception import JException

    # Its import raises the limit to 10,000 for the whole process, which is not ours to give.
    sys.setrecursionlimit(limit)
    try:
        parsed = Jsonata(expression)
    except JException as error:
        return str(error)
    except RecursionError:
        return "nested too deeply"
    except (AttributeError, LookupError, RegexError, TypeError, ValueError) as error:
        # The library's parser (0.7) ends so on some broken texts, such as an unclosed comment.
        return f"cannot be parsed ({type(error).__name__}: {error})"
    return "; ".join(map(str, parsed.errors or ()))
