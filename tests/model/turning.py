"""Jobs that take turns, and who is called."""

from hypothesis.stateful import precondition, rule

from tests.model.working import Working


class Turning(Working):
    """Somebody looks at the lines that others joined or left."""

    @precondition(lambda self: self.house.turns.noted)
    @rule()
    def call(self):
        """Somebody looks once, or until there is nothing left to be seen."""
        self._call(looks=self.luck.choice([1, 99, 99]))
