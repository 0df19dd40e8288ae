"""Under which names clients may ask for the models of a server: their own, aliases, or what each was given as."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Generic, Protocol, TypeVar

from qwill.errors import InvalidArgument, ModelNotFound

TAG = ":latest"  # Ollama's names have one
MOST_CHARACTERS = 256  # of a name that nobody was given
WILDCARDS = frozenset("*?[")
_NONE: Mapping[str, str] = {}


class Model(Protocol):
    """What a server has. `source` is what was given to load it by."""

    @property
    def name(self) -> str: ...
    @property
    def source(self) -> str: ...


M = TypeVar("M", bound=Model)


class Names(Generic[M]):
    """Models by their own names, then by those of their adapters and by aliases. A server of one model answers to any
    name, unless it has adapters: a name that is written wrong would be answered by the model without one.
    """

    def __init__(
        self, served: Sequence[M], aliases: Mapping[str, str], default: str | None, adapters: Mapping[str, str] = _NONE
    ) -> None:
        """aliases: other names, which may have wildcards, and whose they are: names or sources of models. default: the
        model for requests that name none, or one that nobody knows; by default the first one, for the former alone.

        adapters: names of adapters, and whose they are. Raises InvalidArgument for an alias or a default of no model,
        and for an alias or an adapter that has another one's name.
        """
        self._own = {model.name: model for model in served}
        self._sources = {model.source: model for model in reversed(served)}
        self._others = {name: self._model(f"--alias {name}={model}", model) for name, model in aliases.items()}
        for name in self._own.keys() & self._others.keys():
            raise InvalidArgument(f"--alias {name}: a model has that name; take another one")
        for name in adapters.keys() & (self._own.keys() | self._others.keys()):
            raise InvalidArgument(f"--lora {name}=...: a model or an alias has that name; take another one")
        self._others = {name: self._own[model] for name, model in adapters.items()} | self._others
        self._first = served[0] if default is None else self._model(f"--default {default}", default)
        self._answers_all = default is not None or (len(served) == 1 and not adapters)

    @property
    def served(self) -> list[M]:
        """All models."""
        return list(self._own.values())

    @property
    def listed(self) -> list[tuple[str, M]]:
        """All names that can be told, each with its model: the models' own, then aliases without wildcards."""
        others = [(name, model) for name, model in self._others.items() if not WILDCARDS & set(name)]
        return [*self._own.items(), *others]

    def find(self, name: str | None) -> M:
        """The model that a name, or none, stands for. Raises ModelNotFound."""
        if not name:
            return self._first
        for spelled in (name, name.removesuffix(TAG), name + TAG):
            found = self._own.get(spelled) or self._others.get(spelled)
            if found is not None:
                return found
        if found := self._sources.get(name):
            return found
        if len(name) <= MOST_CHARACTERS and name.isprintable():  # others are nobody's; answers may tell them again
            for pattern, model in self._others.items():
                if fnmatchcase(name, pattern) or fnmatchcase(name.removesuffix(TAG), pattern):
                    return model
            if self._answers_all:
                return self._first
        raise ModelNotFound(f"no model {name!r} here; there is {', '.join(name for name, _ in self.listed)}")

    def _model(self, option: str, name: str) -> M:
        found = self._own.get(name) or self._sources.get(name)
        if found is None:
            raise InvalidArgument(f"{option}: no model {name!r} here; there is {', '.join(self._own)}")
        return found
