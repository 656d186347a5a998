"""How badly what must hold is violated: terms on blocks of points, their mean squares, gradients and gradient noise."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from copy import copy
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as Spec

from sciml.conditions import Known, Term, equation_term
from sciml.derivatives import Jet, MultiIndex, add, closure
from sciml.device import put, random_key
from sciml.errors import ProblemError
from sciml.nets.model import Frame, Model, flattened, trainable_mask
from sciml.problem import Problem
from sciml.sampling import draw_by_residual, shifted, sobol_integers
from sciml.settings import Points
from sciml.slabs import March, Slabs

MICRO_BATCHES = 8
"""Independent blocks of a stochastic batch; their spread is the gradient's noise (docs/decisions/002-micro-batches.md)."""

DEFAULT_BLOCK = 2048
"""Points evaluated at once on a CPU, so that a block's derivatives stay in cache (docs/decisions/003-blocks.md)."""


class Block(NamedTuple):
    """A term's points with all that does not depend on the network; leading axis: blocks, where there are several."""

    points: Array
    frame: Frame
    known: Known


class Evaluation(NamedTuple):
    """What one pass over a batch yields: mean squares per component, the gradient, and its noise per stochastic term."""

    components: Array
    gradient: Array
    variance: Array
    """Variance of the batch gradient, one entry per term, `s2 / K` (docs/design.md, 4); zero for terms without noise."""
    signal: Array
    """Squared norm of each term's own gradient, free of its noise."""


class Validation(NamedTuple):
    """Residuals on points that are never trained on."""

    mean_square: Array | float
    worst: Array | float
    level: Array | float
    """Mean absolute residuals, squared and weighted: what judges a state. One point near a kink decides a mean square, but a layer in
    which a wrong solution jumps counts here as well, however thin. Data count with their mean square, whose minimum is the estimate
    (docs/decisions/046-which-state-is-returned.md)."""


class Instance(NamedTuple):
    """Which one an objective is of those that compiled functions serve: of what seed, in which slab of time. Arrays only."""

    key: Array
    """Of all that is drawn during training."""
    fixed: Any
    """What the seed has drawn beside the trainable numbers: random frequencies of the features, for example."""
    march: March | None
    """How far time is marched; None where it is not."""


class Trainable(Protocol):
    """What `train` asks of an objective: pure functions of one flat vector that may be traced. Batches are its own business."""

    dtype: Any
    start: Array
    weights: Array
    instance: Instance
    runs_long: bool
    """Whether training takes much longer than compiling with all optimisations does."""

    def at(self, instance: Instance) -> Trainable: ...
    @property
    def components(self) -> tuple[str, ...]: ...
    @property
    def terms(self) -> tuple[Any, ...]: ...
    @property
    def parameters(self) -> int: ...
    def stochastic(self) -> tuple[bool, ...]: ...
    def counts(self, purpose: Literal["fixed", "batch", "validation"], growth: int = 1) -> dict[str, int]: ...
    def draw(self, key: Array, counts: Mapping[str, int] | None = None) -> tuple[Array, ...]: ...
    def redraw(self, key: Array, theta: Array, counts: Mapping[str, int] | None = None) -> tuple[Array, ...]: ...
    def prepare(self, points: Sequence[Array]) -> Any: ...
    def evaluate(self, theta: Array, batch: Any) -> Evaluation: ...
    def value_and_gradient(self, theta: Array, batch: Any) -> tuple[Array, Array]: ...
    def sample_and_evaluate(self, theta: Array, step: Array, counts: Mapping[str, int]) -> Evaluation: ...
    def validate(self, theta: Array, batch: Any) -> Validation: ...
    def unknowns(self, theta: Array) -> dict[str, Array]: ...
    def replicate(self, tree: Any) -> Any: ...


class Objective:
    """The weighted least-squares loss of a problem for a model, as functions of one flat vector of trainable numbers.

    `theta` holds the network's trainable arrays and the unknown coefficients. All methods are pure and may be traced.
    """

    runs_long = True

    def __init__(
        self,
        problem: Problem,
        model: Model,
        soft_terms: Sequence[Term],
        points: Points,
        weights: Mapping[str, float],
        seed: int,
        dtype: Any,
        block: int | None = None,
        devices: Sequence[Any] | None = None,
        slabs: Slabs | None = None,
    ) -> None:
        self.problem, self.points, self.dtype = problem, points, dtype
        self.terms = (equation_term(problem), *soft_terms)
        self.components = tuple(name for term in self.terms for name in term.components)
        self.devices = tuple(devices or jax.local_devices()[:1])
        self.block = block or (DEFAULT_BLOCK if self.devices[0].platform == "cpu" else 1 << 30)
        self.weights = self._weights(weights)
        self.slabs = slabs
        self._draw_instance(model, seed)
        self.indices = tuple(closure(tuple(need.index for need in term.needs)) for term in self.terms)
        self._mesh = Mesh(np.array(self.devices), ("points",)) if len(self.devices) > 1 else None

    def _draw_instance(self, model: Model, seed: int) -> None:
        """Take the start and all else that the seed has drawn from a model."""
        trainable, self._fixed = eqx.partition(model.network, trainable_mask(model.network))
        self.model = model
        numbers, self.unravel = flattened({"network": trainable, "unknowns": dict.fromkeys(self.problem.unknowns, 0.0)})
        self.start = put(numbers, self.dtype)
        fixed, self._static = eqx.partition((model.features, self._fixed), eqx.is_array)
        march = None if self.slabs is None else March(jnp.asarray(0), jnp.zeros((self.slabs.count, self.start.size), self.dtype))
        self.instance = Instance(random_key(seed), fixed, march)

    def seeded(self, model: Model, seed: int) -> Objective:
        """The same objective with what another seed draws; `at` of either gives the other."""
        other = copy(self)
        other._draw_instance(model, seed)
        return other

    @property
    def key(self) -> Array:
        return self.instance.key

    @property
    def march(self) -> March | None:
        return self.instance.march

    @property
    def parameters(self) -> int:
        return int(self.start.size)

    def replicate(self, tree: Any) -> Any:
        """Arrays as the jitted functions return them, on every device: what enters a phase once is then compiled once."""
        return tree if self._mesh is None else jax.device_put(tree, NamedSharding(self._mesh, Spec()))

    def stochastic(self) -> tuple[bool, ...]:
        """Which terms are sampled, and so have noise."""
        return tuple(term.data is None and term.dimension > 0 for term in self.terms)

    def network(self, theta: Array) -> Any:
        return eqx.combine(self.unravel(theta)["network"], self._fixed)

    def unknowns(self, theta: Array) -> dict[str, Array]:
        """Values of the unknown coefficients."""
        raw = self.unravel(theta)["unknowns"] if self.problem.unknowns else {}
        return {name: unknown.value(raw[name]) for name, unknown in self.problem.unknowns.items()}

    def evaluate_fields(self, theta: Array, points: Array) -> Array:
        """The fields `(n, fields)` at `points` `(n, d)`; `theta` has one row per slab, or belongs to the one that is trained."""
        if self.slabs is None or theta.ndim == 1:
            return self.model.jet(self.network(theta), self._frame_at(points, ((),)), ((),))[()].T
        slabs, lift = self.slabs, jax.vmap(self.model.ansatz.lift)(points)

        def add_slab(total: Array, row: tuple[Array, Array]) -> tuple[Array, None]:
            number, theta = row
            frame = self.model.frame(points, ((),), slabs.local(points, number))
            return total + self.model.correction(self.network(theta), frame, ((),))[()].T, None

        return jax.lax.scan(add_slab, lift, (jnp.arange(slabs.count), theta))[0]

    def at(self, instance: Instance) -> Objective:
        """The same objective with another seed, or in another slab of time."""
        moved = copy(self)
        moved.instance = instance
        features, moved._fixed = eqx.combine(instance.fixed, self._static)
        moved.model = Model(features, self.model.network, self.model.ansatz, self.model.scale)
        return moved

    # -- points -------------------------------------------------------------------------------------------------------

    def term_weights(self, number: int) -> Array:
        """Weights of a term's components."""
        start = sum(len(term.components) for term in self.terms[:number])
        return self.weights[start : start + len(self.terms[number].components)]

    def counts(self, purpose: Literal["fixed", "batch", "validation"], growth: int = 1) -> dict[str, int]:
        """Points per entry of `[points]`: of a fixed set (`growth` times as many), of one first-order step, of the validation."""
        fixed = {name: growth * getattr(self.points, name) for name in ("interior", "boundary", "initial")}
        interior = {"fixed": fixed["interior"], "batch": self.points.batch, "validation": self.points.validation}
        return fixed | {"interior": interior[purpose]}

    def count(self, term: Term) -> int:
        """Training points of a term in a phase with fixed points."""
        if term.data is not None:
            return term.data[0].shape[1]
        return 1 if term.dimension == 0 else getattr(self.points, term.count)

    def draw(self, key: Array, counts: Mapping[str, int] | None = None) -> tuple[Array, ...]:
        """A fixed point set: for each term an array `(s, n, d)`, one shifted Sobol set."""
        return tuple(
            self._place(
                term, shifted(sobol_integers(self._sized(term, counts), term.dimension), jax.random.fold_in(key, number), self.dtype)
            )
            for number, term in enumerate(self.terms)
        )

    def redraw(self, key: Array, theta: Array, counts: Mapping[str, int] | None = None) -> tuple[Array, ...]:
        """A fixed point set whose equation points are drawn by residual from a pool of candidates."""
        fresh = self.draw(key, counts)
        term, count = self.terms[0], fresh[0].shape[1]
        pool = self._place(
            term, shifted(sobol_integers(self.points.pool * count, term.dimension), jax.random.fold_in(key, 1000), self.dtype)
        )
        residual = self.residual_size(theta, pool)
        chosen = draw_by_residual(jax.random.fold_in(key, 1001), residual, count)
        return (pool[:, chosen], *fresh[1:])

    def residual_size(self, theta: Array, points: Array) -> Array:
        """Weighted size of the equation's residuals `(n,)` at `points` `(s, n, d)`."""
        residuals = self.residuals(theta, 0, self.prepare_term(0, points))
        return jnp.sqrt(self.weights[: residuals.shape[0]] @ residuals**2)

    def residuals(self, theta: Array, number: int, blocks: Block) -> Array:
        """Residuals `(components, n)` of one term over all its blocks."""
        each = jax.lax.map(lambda block: self.block_residuals(theta, number, block), blocks)
        return jnp.moveaxis(each, 1, 0).reshape(each.shape[1], -1)

    def prepare(self, points: Sequence[Array]) -> tuple[Block, ...]:
        """Blocks of every term, with all that does not depend on the network computed once."""
        return tuple(self.prepare_term(number, each) for number, each in enumerate(points))

    def prepare_term(self, number: int, points: Array, blocks: int | None = None) -> Block:
        """Blocks of one term from its points `(s, n, d)`, of the size that suits the device or as many as given."""
        stencil, count, dimension = points.shape
        blocks = blocks or self._blocks(number, count)
        split = jnp.moveaxis(points.reshape(stencil, blocks, count // blocks, dimension), 1, 0)
        known = self.terms[number].data[1] if self.terms[number].data is not None else None  # type: ignore[index]
        if known is not None:
            return jax.vmap(partial(self._frame, number))(
                split, tuple(jnp.asarray(value, self.dtype).reshape(blocks, -1) for value in known)
            )
        return jax.vmap(partial(self._frame, number))(split)

    # -- values -------------------------------------------------------------------------------------------------------

    def value_and_gradient(self, theta: Array, batch: tuple[Block, ...]) -> tuple[Array, Array]:
        """The weighted loss and its gradient on a fixed point set."""
        evaluation = self.evaluate(theta, batch)
        return jnp.vdot(self.weights, evaluation.components), evaluation.gradient

    def evaluate(self, theta: Array, batch: tuple[Block, ...]) -> Evaluation:
        """Mean squares, gradient and noise on a fixed point set."""
        return self._evaluate(
            [partial(self._over_blocks, self._block_gradient(number), theta, block) for number, block in enumerate(batch)]
        )

    def sample_and_evaluate(self, theta: Array, step: Array, counts: Mapping[str, int]) -> Evaluation:
        """The same on points drawn anew: every stochastic term takes `MICRO_BATCHES` independently shifted blocks."""
        passes = []
        for number, term in enumerate(self.terms):
            if not self.stochastic()[number]:
                fixed = self.prepare_term(number, self._place(term, jnp.zeros((self.count(term), 0), self.dtype)))
                passes.append(partial(self._over_blocks, self._block_gradient(number), theta, fixed))
                continue
            blocks = self.micro_batches
            integers = sobol_integers(-(-counts[term.count] // blocks), term.dimension)
            key = jax.random.fold_in(jax.random.fold_in(self.key, number + 1), step)
            passes.append(partial(self._over_blocks, self._fresh_gradient(number, integers), theta, jax.random.split(key, blocks)))
        return self._evaluate(passes)

    def validate(self, theta: Array, batch: tuple[Block, ...]) -> Validation:
        """Weighted mean square, largest residual and level over a batch."""
        means, worst, levels = [], [], []
        for number, (term, block) in enumerate(zip(self.terms, batch, strict=True)):
            residuals = self.residuals(theta, number, block)
            means.append(jnp.mean(residuals**2, axis=1))
            worst.append(jnp.max(jnp.abs(residuals)))
            levels.append(means[-1] if term.data is not None else jnp.mean(jnp.abs(residuals), axis=1) ** 2)
        mean_square, level = (jnp.vdot(self.weights, jnp.concatenate(each)) for each in (means, levels))
        return Validation(mean_square, jnp.max(jnp.stack(worst)), level)

    # -- inside -------------------------------------------------------------------------------------------------------

    @property
    def micro_batches(self) -> int:
        return -(-MICRO_BATCHES // len(self.devices)) * len(self.devices)

    def _sized(self, term: Term, counts: Mapping[str, int] | None) -> int:
        if counts is None or term.data is not None or term.dimension == 0:
            return self.count(term)
        return counts[term.count]

    def _place(self, term: Term, cube: Array) -> Array:
        if term.data is not None:
            return jnp.asarray(term.data[0], self.dtype)
        points = term.place(cube)
        return points if self.march is None or self.slabs is None else self.slabs.place(points, self.march.number)

    def _blocks(self, number: int, count: int) -> int:
        """Blocks of equal size: as few as the block size allows, a multiple of the devices where the term is sharded."""
        shards = len(self.devices) if self.stochastic()[number] else 1
        wanted = max(1, round(count / (shards * self.block))) * shards
        return wanted if count % wanted == 0 else shards if count % shards == 0 else 1

    def _frame(self, number: int, points: Array, known: Known | None = None) -> Block:
        term = self.terms[number]
        frame = self._frame_at(points.reshape(-1, points.shape[-1]), self.indices[number])
        return Block(points, frame, term.known(points) if known is None else known)

    def _frame_at(self, points: Array, indices: tuple[MultiIndex, ...]) -> Frame:
        if self.march is None or self.slabs is None:
            return self.model.frame(points, indices)
        frame = self.model.frame(points, indices, self.slabs.local(points, self.march.number))
        return frame._replace(lift=add(frame.lift, self._frozen(self.slabs, self.march, points, indices)))

    def _frozen(self, slabs: Slabs, march: March, points: Array, indices: tuple[MultiIndex, ...]) -> Jet:
        """What the slabs that are done add to the lift: it does not depend on time any more."""
        spatial = tuple(index for index in indices if slabs.axis not in index)
        frame = self.model.frame(slabs.end(points), spatial)
        zero = jnp.zeros((len(self.problem.field_names), points.shape[0]), self.dtype)

        def add_slab(total: Jet, row: tuple[Array, Array]) -> tuple[Jet, None]:
            number, theta = row
            found = self.model.correction(self.network(theta), frame, spatial)
            return {index: value + jnp.where(number < march.number, found.get(index, zero), 0.0) for index, value in total.items()}, None

        return jax.lax.scan(add_slab, dict.fromkeys(spatial, zero), (jnp.arange(slabs.count), march.frozen))[0]

    def block_residuals(self, theta: Array, number: int, block: Block) -> Array:
        """Residuals `(components, n)` of a term on one block."""
        term, indices = self.terms[number], self.indices[number]
        return self._form(theta, term, indices, block)

    def term_residuals(self, theta: Array, term: Term, points: Array, known: Known) -> Array:
        """Residuals `(components, n)` of any term at `points` `(s, n, d)`, one of the objective's or not."""
        indices = closure(tuple(need.index for need in term.needs))
        return self._form(theta, term, indices, Block(points, self._frame_at(points.reshape(-1, points.shape[-1]), indices), known))

    def _form(self, theta: Array, term: Term, indices: tuple[MultiIndex, ...], block: Block) -> Array:
        jet = self.model.jet(self.network(theta), block.frame, indices)
        stencil, count = block.points.shape[:2]
        names, rows = self.problem.field_names, stencil * count
        zero = jnp.zeros((len(names), rows), self.dtype)
        values = {
            need: jnp.broadcast_to(jet.get(need.index, zero), (len(names), rows))[names.index(need.field)].reshape(stencil, count)
            for need in term.needs
        }
        return jnp.stack(term.residual(values, block.points, block.known, self.unknowns(theta)))

    def _weighted(self, theta: Array, number: int, block: Block) -> tuple[Array, Array]:
        means = jnp.mean(self.block_residuals(theta, number, block) ** 2, axis=1)
        return jnp.vdot(self.term_weights(number), means), means

    def _block_gradient(self, number: int) -> Callable[[Array, Block], tuple[Array, Array, Array]]:
        def gradient(theta: Array, block: Block) -> tuple[Array, Array, Array]:
            (_, means), slope = jax.value_and_grad(self._weighted, has_aux=True)(theta, number, block)
            return means, slope, jnp.vdot(slope, slope)

        return gradient

    def _fresh_gradient(self, number: int, integers: Array) -> Callable[[Array, Array], tuple[Array, Array, Array]]:
        gradient = self._block_gradient(number)

        def fresh(theta: Array, key: Array) -> tuple[Array, Array, Array]:
            return gradient(theta, self._frame(number, self._place(self.terms[number], shifted(integers, key, self.dtype))))

        return fresh

    def _over_blocks(self, gradient: Callable[..., Any], theta: Array, blocks: Any, sharded: bool) -> tuple[Array, Array, Array, int]:
        """Means over blocks of (mean squares, gradient, squared norm of the gradient), and the number of blocks."""
        count = jax.tree.leaves(blocks)[0].shape[0]

        def total(theta: Array, blocks: Any) -> Any:
            if jax.tree.leaves(blocks)[0].shape[0] == 1:
                return gradient(theta, jax.tree.map(lambda leaf: leaf[0], blocks))
            shapes = jax.eval_shape(gradient, theta, jax.tree.map(lambda leaf: leaf[0], blocks))
            zeros = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)
            return jax.lax.scan(lambda carry, block: (jax.tree.map(jnp.add, carry, gradient(theta, block)), None), zeros, blocks)[0]

        if sharded and self._mesh is not None and count % len(self.devices) == 0:
            summed = jax.shard_map(
                lambda theta, blocks: jax.lax.psum(total(theta, blocks), "points"),
                mesh=self._mesh,
                in_specs=(Spec(), Spec("points")),
                out_specs=Spec(),
                check_vma=False,
            )(theta, blocks)
        else:
            summed = total(theta, blocks)
        means, slope, squares = jax.tree.map(lambda value: value / count, summed)
        return means, slope, squares, count

    def _evaluate(self, passes: Sequence[Callable[..., tuple[Array, Array, Array, int]]]) -> Evaluation:
        means, slopes, variances, signals = [], [], [], []
        for noisy, each in zip(self.stochastic(), passes, strict=True):
            mean, slope, squares, blocks = each(sharded=noisy)
            square = jnp.vdot(slope, slope)
            spread = jnp.maximum(squares - square, 0.0) / (blocks - 1) if noisy and blocks > 1 else jnp.zeros((), self.dtype)
            means.append(mean)
            slopes.append(slope)
            variances.append(spread)
            signals.append(square - spread)
        return Evaluation(jnp.concatenate(means), sum(slopes[1:], slopes[0]), jnp.stack(variances), jnp.stack(signals))

    def _weights(self, given: Mapping[str, float]) -> Array:
        own = {name: term.weight for term in self.terms for name in term.components}
        if len(own) != len(self.components):
            twice = next(name for name in self.components if self.components.count(name) > 1)
            raise ProblemError(f"two terms are called '{twice}'; give one of them another name")
        strange = [f"there is no term '{name}'; terms: {', '.join(own)}" for name in given if name not in own]
        if strange:
            raise ProblemError(strange, "[weights]")
        return jnp.asarray([given.get(name, weight) for name, weight in own.items()], self.dtype)
