"""How Hypothesis tries the rules: the same examples each time, however slow the day."""

from hypothesis import settings

settings.register_profile("house", deadline=None, derandomize=True, database=None)
settings.load_profile("house")
