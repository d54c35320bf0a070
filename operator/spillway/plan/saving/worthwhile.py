"""Which savings are worth telling, and how they are told."""

from spillway.plan.comparing.case import Case
from spillway.plan.comparing.options import Option
from spillway.plan.rounding import dollars, figure

LEAST_SHARE = 0.05  # of the bill: less is not worth a change
LEAST_USD = 10.0  # a month: likewise


def pays(case: Case, option: Option) -> bool:
    """Whether an option costs less than what runs now by more than either estimate's error."""
    saved = case.usd - (option.usd or 0.0)
    return worth_telling(case, saved) and saved > max(case.current.error_usd, option.error_usd)


def worth_telling(case: Case, saved_usd: float) -> bool:
    """Whether a saving is large enough to be told."""
    return saved_usd >= max(LEAST_USD, LEAST_SHARE * case.usd)


def rate_words(case: Case) -> str:
    """Return the load as a sentence begins with it."""
    return f"At {figure(case.load.mean_per_s)} requests/s {case.usage.seen_over}"


def costs(option: Option) -> str:
    """Return what an option that was costed costs a month, in words."""
    return dollars(option.usd or 0.0)
