"""Vector fields: whatever says how a state changes. A user's own with unknown coefficients, networks, known physics plus a network."""

# Not `from __future__ import annotations`: Equinox takes an abstract variable for a field where the annotation is text.
import inspect
import textwrap
from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from sciml.dynamics import equations, symbolic
from sciml.dynamics.library import Library
from sciml.dynamics.problem import Dynamics
from sciml.errors import ProblemError
from sciml.nets.mlp import MLP
from sciml.nets.model import trainable_mask
from sciml.unknown import Unknown

PRIOR = 5.0
"""How much larger than their first draw a network's numbers are expected to become (docs/decisions/049-a-prior-for-networks.md)."""


class VectorField(eqx.Module):
    """Base of all vector fields: called with time, state `(states,)` and controls `(controls,)`, gives the state's time derivative.

    Its trainable leaves are what a fit changes. One of your own says its states, which of them the channels show, and the derivative:

    ```python
    class Oscillator(sciml.VectorField):
        k: jax.Array
        states = ("x", "v")
        channels = ("x",)

        def __call__(self, t, state, controls):
            x, v = state
            return jnp.stack([v, -self.k * x])
    ```

    `Oscillator(jnp.array(1.0))` has the coefficient `k`, which starts at one.
    """

    states: eqx.AbstractVar[tuple[str, ...]]
    channels: eqx.AbstractVar[tuple[str, ...]]

    @abstractmethod
    def __call__(self, t: Array, state: Array, controls: Array) -> Array:
        """The time derivative `(states,)`."""

    def observe(self, state: Array) -> Array:
        """What the channels would show of a state, without noise: `(channels,)`. By default the states of the same names."""
        return state if self.channels == self.states else state[np.array([self.states.index(name) for name in self.channels])]

    def start(self, free: Array) -> Array:
        """The initial state, `free` `(states,)` where nothing more is known."""
        return free

    def coefficients(self) -> dict[str, Array]:
        """The coefficients that have a name, a number each. By default all trainable numbers, by attribute, but for those of networks."""
        numbers = eqx.filter(self, trainable_mask(self))
        inside = _any_of(numbers.networks)
        leaves = jax.tree_util.tree_leaves_with_path(numbers, is_leaf=inside)
        return {
            jax.tree_util.keystr(path, simple=True, separator=".") + (str(list(place)) if place else ""): leaf[place]
            for path, leaf in leaves
            if not inside(leaf)
            for place in np.ndindex(leaf.shape)
        }

    def unknowns(self) -> dict[str, Unknown]:
        """Those of them that have bounds."""
        return {}

    def inclusion(self) -> dict[str, float]:
        """Share of data sets simulated by the model that lead to a coefficient's term again; empty where nobody counted."""
        return {}

    @property
    def networks(self) -> tuple[Any, ...]:
        """The modules in it that are networks, without symbols. By default all that are callable and have matrices of trainable numbers."""
        parts = jax.tree.leaves(self, is_leaf=lambda node: callable(node) and not isinstance(node, VectorField))
        return tuple(part for part in parts if callable(part) and any(map(_is_matrix, jax.tree.leaves(part))))

    @property
    def stands_in(self) -> bool:
        """Whether it, or a part of it, stands in for equations that nobody knows: a sparse model may take its place."""
        return False

    @property
    def sparse_part(self) -> "SparseLibrary | None":
        """The part of it that is a sparse model."""
        return None

    def units(self) -> Any:
        """What each trainable number is counted in, as a tree like the trainable leaves: its start, so that one step suits all of them.

        One for those of a network, and for what starts at zero.
        """
        return _numbers(self, lambda start: np.where(start == 0, 1.0, np.abs(start)), _ones)

    def text(self, errors: Mapping[str, float | None]) -> str:
        """It in words, with the coefficients' standard errors where it writes these itself: the source of a user's own."""
        return _source(type(self).__call__, type(self).__name__)

    def sympy(self, controls: tuple[str, ...]) -> dict[str, Any]:
        """State -> derivative as a SymPy expression, for controls of these names. Raises `ProblemError` for what has no symbols."""
        if self.networks:
            raise ProblemError("equations: a network has no symbols; found.equations() gives as text what there is")
        return symbolic.traced(self, self.states, controls)

    def latex(self, errors: Mapping[str, float | None], controls: tuple[str, ...]) -> str:
        """The same as an `aligned` block."""
        return equations.latex_of(self.sympy(controls))

    def without_statistics(self) -> "VectorField":
        """The same field, without what the data said of its choice: for other data."""
        return self


class Scaling(NamedTuple):
    """What brings a network's inputs and outputs to order one: mean and size of each state and control, and the time scale."""

    mean: tuple[float, ...]
    scale: tuple[float, ...]
    control_mean: tuple[float, ...]
    control_scale: tuple[float, ...]
    time: float

    def inputs(self, state: Array, controls: Array) -> Array:
        """Scaled state and controls `(states + controls,)`."""
        mean = jnp.asarray((*self.mean, *self.control_mean), state.dtype)
        scale = jnp.asarray((*self.scale, *self.control_scale), state.dtype)
        return (jnp.concatenate([state, controls]) - mean) / scale


class Given(VectorField):
    """The vector field that a user wrote down as a `Dynamics`, its unknown coefficients trainable."""

    raw: dict[str, Array]
    """Trainable numbers, zero at the start of each unknown; see `sciml.Unknown.value`."""
    problem: Dynamics = eqx.field(static=True)
    states: tuple[str, ...] = eqx.field(static=True)
    channels: tuple[str, ...] = eqx.field(static=True)

    def __init__(self, problem: Dynamics, dtype: Any = jnp.float64) -> None:
        self.problem, self.states, self.channels = problem, problem.states, problem.measured.names
        self.raw = {name: jnp.zeros((), dtype) for name in problem.unknowns}

    def __call__(self, t: Array, state: Array, controls: Array) -> Array:
        return self.problem.derivative(t, state, controls, self.coefficients())

    def observe(self, state: Array) -> Array:
        return self.problem.observed(state, self.coefficients())

    def start(self, free: Array) -> Array:
        return self.problem.start(free, self.coefficients())

    def coefficients(self) -> dict[str, Array]:
        return {name: unknown.value(self.raw[name]) for name, unknown in self.problem.unknowns.items()}

    def unknowns(self) -> dict[str, Unknown]:
        return self.problem.unknowns

    def units(self) -> Any:
        return _numbers(self, _ones, _ones)

    def text(self, errors: Mapping[str, float | None]) -> str:
        problem: Any = self.problem  # its vector field is the user's to write
        return _source(problem.vector_field, problem.name)


class NeuralODE(VectorField):
    r"""A network for the whole field: $\dot x = (s / \tau)\, N((x - m) / s, u)$ with the data's mean $m$, size $s$ and time scale $\tau$.

    `network` is any Equinox or Flax NNX module `(states + controls,) -> (states,)`.
    """

    network: Any
    scaling: Scaling = eqx.field(static=True)
    states: tuple[str, ...] = eqx.field(static=True)
    channels: tuple[str, ...] = eqx.field(static=True)

    def __call__(self, t: Array, state: Array, controls: Array) -> Array:
        scale = jnp.asarray(self.scaling.scale, state.dtype)
        return scale / self.scaling.time * self.network(self.scaling.inputs(state, controls))

    @property
    def networks(self) -> tuple[Any, ...]:
        return (self.network,)

    @property
    def stands_in(self) -> bool:
        return True

    def text(self, errors: Mapping[str, float | None]) -> str:
        return "a network: no symbols"


class Universal(VectorField):
    r"""Known physics plus what is missing in it (Rackauckas et al. 2020): $\dot x = f(x, p) + N(x)$, with unknown coefficients in $f$."""

    known: VectorField
    missing: VectorField
    states: tuple[str, ...] = eqx.field(static=True)
    channels: tuple[str, ...] = eqx.field(static=True)

    def __init__(self, known: VectorField, missing: VectorField) -> None:
        self.known, self.missing, self.states, self.channels = known, missing, known.states, known.channels

    def __call__(self, t: Array, state: Array, controls: Array) -> Array:
        return self.known(t, state, controls) + self.missing(t, state, controls)

    def observe(self, state: Array) -> Array:
        return self.known.observe(state)

    def start(self, free: Array) -> Array:
        return self.known.start(free)

    def coefficients(self) -> dict[str, Array]:
        return self.known.coefficients() | self.missing.coefficients()

    def unknowns(self) -> dict[str, Unknown]:
        return self.known.unknowns() | self.missing.unknowns()

    def inclusion(self) -> dict[str, float]:
        return self.missing.inclusion()

    @property
    def networks(self) -> tuple[Any, ...]:
        return (*self.known.networks, *self.missing.networks)

    @property
    def stands_in(self) -> bool:
        return self.missing.stands_in

    @property
    def sparse_part(self) -> "SparseLibrary | None":
        return self.missing.sparse_part

    def units(self) -> Any:
        return Universal(self.known.units(), self.missing.units())

    def text(self, errors: Mapping[str, float | None]) -> str:
        return "\n".join([self.known.text(errors), "plus", self.missing.text(errors)])

    def sympy(self, controls: tuple[str, ...]) -> dict[str, Any]:
        missing = self.missing.sympy(controls)
        return {state: known + missing[state] for state, known in self.known.sympy(controls).items()}

    def without_statistics(self) -> VectorField:
        return Universal(self.known, self.missing.without_statistics())


class SecondOrder(VectorField):
    """Newton's form: the states are the positions, then their velocities, and only the accelerations `(positions,)` are modelled.

    `network` is any module `(states + controls,) -> (positions,)` on scaled inputs.
    """

    network: Any
    scaling: Scaling = eqx.field(static=True)
    states: tuple[str, ...] = eqx.field(static=True)
    channels: tuple[str, ...] = eqx.field(static=True)

    def __call__(self, t: Array, state: Array, controls: Array) -> Array:
        positions = len(self.states) // 2
        scale = jnp.asarray(self.scaling.scale[:positions], state.dtype)
        accelerations = scale / self.scaling.time**2 * self.network(self.scaling.inputs(state, controls))
        return jnp.concatenate([state[positions:], accelerations])

    @property
    def networks(self) -> tuple[Any, ...]:
        return (self.network,)

    def text(self, errors: Mapping[str, float | None]) -> str:
        return "a network: no symbols"


class SparseLibrary(VectorField):
    """A linear combination of candidate terms; those that are not `active` stay out of the equations.

    The trainable `weights` `(k,)`, one per active coefficient, are in units of `sizes`: one is a typical size of each.
    """

    weights: Array
    sizes: tuple[float, ...] = eqx.field(static=True)
    active: np.ndarray
    """`(terms, states)`."""
    shares: tuple[float, ...] = eqx.field(static=True)
    """Share of simulated data sets that lead to each active term again; empty where nobody counted."""
    cross_validation: float | None = eqx.field(static=True)
    library: Library = eqx.field(static=True)
    states: tuple[str, ...] = eqx.field(static=True)
    channels: tuple[str, ...] = eqx.field(static=True)

    def __init__(
        self,
        library: Library,
        coefficients: np.ndarray,
        states: tuple[str, ...],
        channels: tuple[str, ...],
        inclusion: np.ndarray | None = None,
        cross_validation: float | None = None,
    ) -> None:
        """`coefficients` `(terms, states)`; a candidate is active where they are not zero. `inclusion` has the same shape."""
        self.library, self.states, self.channels, self.cross_validation = library, states, channels, cross_validation
        self.active = np.asarray(coefficients) != 0
        chosen = np.asarray(coefficients, float)[self.active]
        self.sizes = tuple(np.abs(chosen).tolist())
        self.shares = () if inclusion is None else tuple(np.asarray(inclusion, float)[self.active].tolist())
        self.weights = jnp.asarray(np.sign(chosen))

    def __call__(self, t: Array, state: Array, controls: Array) -> Array:
        return self.library(jnp.concatenate([state, controls])) @ self.matrix()

    def matrix(self) -> Array:
        """Coefficients `(terms, states)`."""
        return jnp.zeros(self.active.shape, self.weights.dtype).at[np.nonzero(self.active)].set(self._values())

    def _values(self) -> Array:
        return self.weights * jnp.asarray(self.sizes, self.weights.dtype)

    def coefficients(self) -> dict[str, Array]:
        values = self._values()
        return {key: values[number] for number, key in enumerate(self._keys())}

    def inclusion(self) -> dict[str, float]:
        return dict(zip(self._keys(), self.shares, strict=True)) if self.shares else {}

    def without_statistics(self) -> VectorField:
        return SparseLibrary(self.library, np.asarray(self.matrix()), self.states, self.channels)

    @property
    def sparse_part(self) -> "SparseLibrary | None":
        return self

    def units(self) -> Any:
        return _numbers(self, _ones, _ones)

    def text(self, errors: Mapping[str, float | None]) -> str:
        return equations.text(self.library, np.asarray(self.matrix()), self.states, self._placed(errors))

    def sympy(self, controls: tuple[str, ...]) -> dict[str, Any]:
        return equations.sympy(self.library, np.asarray(self.matrix()), self.states)

    def latex(self, errors: Mapping[str, float | None], controls: tuple[str, ...]) -> str:
        return equations.latex(self.library, np.asarray(self.matrix()), self.states, self._placed(errors))

    def _placed(self, errors: Mapping[str, float | None]) -> np.ndarray:
        """Errors by coefficient as an array `(terms, states)`; NaN where there is none."""
        placed = np.full(self.active.shape, np.nan)
        placed[np.nonzero(self.active)] = [np.nan if (error := errors[key]) is None else error for key in self._keys()]
        return placed

    def _keys(self) -> list[str]:
        names = self.library.names()
        return [f"{self.states[column]}': {names[row]}" for row, column in np.argwhere(self.active)]


def has_network(field: VectorField) -> bool:
    """Whether part of it has no symbols."""
    return bool(field.networks)


def precisions(field: VectorField) -> Any:
    """One over the standard deviation that each trainable number has before any data, as a tree like the trainable leaves.

    Numbers of a network are normal around zero, `PRIOR` times as wide as Glorot's (2010) distribution of the first draw (the square of
    these precisions is the weight decay of MacKay 1992, Neural Comput. 4, 448-472); zero, nothing known, for all others.
    """
    return _numbers(field, lambda numbers: np.zeros(numbers.shape), _precision)


def _numbers(field: VectorField, of_field: Callable[[Array], Any], of_network: Callable[[Array], Any]) -> Any:
    """A tree like the trainable leaves: one function of those in a network, another of all others."""
    numbers = eqx.filter(field, trainable_mask(field))
    inside = _any_of(numbers.networks)
    return jax.tree.map(lambda node: jax.tree.map(of_network, node) if inside(node) else of_field(node), numbers, is_leaf=inside)


def _any_of(parts: tuple[Any, ...]) -> Callable[[Any], bool]:
    return lambda node: any(node is part for part in parts)


def _is_matrix(leaf: Any) -> bool:
    return eqx.is_inexact_array(leaf) and leaf.ndim > 1


def _ones(numbers: Array) -> np.ndarray:
    return np.ones(numbers.shape)


def _source(function: Callable[..., Any], name: str) -> str:
    try:
        return textwrap.dedent(inspect.getsource(function)).strip()
    except (OSError, TypeError):
        return f"vector field of {name}"


def _precision(numbers: Array) -> np.ndarray:
    drawn = (2.0 / sum(numbers.shape[-2:])) ** 0.5 if numbers.ndim > 1 else 1.0
    return np.full(numbers.shape, 1.0 / (PRIOR * drawn))


def network(inputs: int, outputs: int, width: int, depth: int, activation: str, key: Array) -> MLP:
    """A perceptron whose last layer starts small, so that the field begins near zero and no trajectory runs away."""
    mlp = MLP(inputs, outputs, width, depth, activation, key=key)
    return eqx.tree_at(lambda net: net.weights[-1], mlp, 0.1 * mlp.weights[-1])
