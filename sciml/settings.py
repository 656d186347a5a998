"""What a run is made of, as settings: network, points, phases, triggers. Imports no JAX, so that a config is read fast."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Settings(BaseModel):
    """Immutable settings that refuse unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Noise(Settings):
    """End a phase when the gradient's noise-to-signal ratio has risen, is past its peak and low (see `sciml.optim.noise`)."""

    kind: Literal["noise"] = "noise"
    threshold: float = Field(default=0.1, gt=0)
    """Ratio that the upper confidence bound must stay below, stated for the point count of the next phase."""
    patience: int = Field(default=3, ge=1)
    """Consecutive windows that must agree."""
    window: int = Field(default=64, ge=8)
    """Steps averaged into one measurement."""
    rise: float = Field(default=5.0, gt=1)
    """The trigger is armed while the ratio has exceeded `rise` times its first value, and is below an earlier window's."""


class Plateau(Settings):
    """End a phase when it no longer gains: over a window its measure falls by less than the fraction `improvement`.

    The measure is the loss averaged over the window in a first-order phase, the best validation level (squared mean absolute residuals)
    in a second-order one.
    """

    kind: Literal["plateau"] = "plateau"
    window: int = Field(default=500, ge=10)
    """Steps."""
    improvement: float = Field(default=0.01, gt=0, lt=1)


Trigger = Annotated[Noise | Plateau, Field(discriminator="kind")]

Optimizer = Literal["adam", "adamw", "nadam", "radam", "adabelief", "adamax", "lion", "rmsprop", "sgd", "yogi"]


class Adam(Settings):
    """First-order descent on fresh points at every step (optax), learning rate halved on a plateau."""

    kind: Literal["adam"] = "adam"
    steps: int = Field(default=1000, ge=1)
    optimizer: Optimizer = "adam"
    learning_rate: float = Field(default=1e-3, gt=0)
    decay: Literal["constant", "cosine", "exponential"] = "constant"
    """How the learning rate falls over `steps`, beside its halving on a plateau."""
    warmup: int = Field(default=0, ge=0)
    """Steps in which the learning rate rises from zero."""
    clip: float | None = Field(default=None, gt=0)
    """Largest norm of the gradient."""
    plateau_window: int = Field(default=500, ge=10)
    """Steps without improvement after which the learning rate is multiplied by `plateau_factor`."""
    plateau_factor: float = Field(default=0.5, gt=0, le=1)
    until: tuple[Trigger, ...] = (Noise(),)


class LineSearch(Settings):
    """Strong Wolfe conditions (Nocedal & Wright 2006, algorithms 3.5 and 3.6)."""

    decrease: float = Field(default=1e-4, gt=0, lt=0.5)
    curvature: float = Field(default=0.9, gt=0, lt=1)
    evaluations: int = Field(default=25, ge=2)


class LBFGS(Settings):
    """Limited-memory BFGS (Nocedal & Wright 2006, algorithm 7.4) on a fixed point set, redrawn by residual every `redraw` iterations."""

    kind: Literal["lbfgs"] = "lbfgs"
    steps: int = Field(default=10000, ge=1)
    memory: int = Field(default=50, ge=1)
    """Curvature pairs that are kept."""
    redraw: int = Field(default=500, ge=0)
    """Iterations between redraws of the points (0: never)."""
    line_search: LineSearch = LineSearch()
    until: tuple[Plateau, ...] = (Plateau(window=2500, improvement=0.5),)


class Broyden(Settings):
    """Self-scaled Broyden (Al-Baali & Khalfan 2005) on a dense inverse Hessian, carried along when points are redrawn by residual."""

    kind: Literal["broyden"] = "broyden"
    steps: int = Field(default=10000, ge=1)
    redraw: int = Field(default=500, ge=0)
    line_search: LineSearch = LineSearch()
    until: tuple[Plateau, ...] = (Plateau(window=2500, improvement=0.5),)


Phase = Annotated[Adam | LBFGS | Broyden, Field(discriminator="kind")]


class Network(Settings):
    """The network that answers: a multilayer perceptron on scaled coordinates (Equinox, or its Flax NNX twin)."""

    kind: Literal["mlp", "flax_mlp"] = "mlp"
    width: int = Field(default=20, ge=1)
    """Units per hidden layer."""
    depth: int = Field(default=3, ge=1)
    """Hidden layers."""
    activation: Literal["tanh", "sin", "swish", "gelu"] = "tanh"
    fourier: int = Field(default=0, ge=0)
    """Random Fourier features (pairs of cosine and sine) of the scaled coordinates; 0 for none."""
    fourier_scale: float = Field(default=1.0, gt=0)
    """Standard deviation of the random frequencies, per unit of scaled coordinate."""
    harmonics: int = Field(default=1, ge=1)
    """Harmonics of the features of a coordinate that is periodic, or has no flux at both ends, by construction."""
    output_scale: float = Field(default=1.0, gt=0)
    """Factor on what the network gives: about the size of the fields."""


class Points(Settings):
    """How many collocation points each kind of term takes; powers of two cover the domain most evenly."""

    interior: int = Field(default=2048, ge=32)
    """Points of the equation in a second-order phase."""
    boundary: int = Field(default=256, ge=32)
    """Points of each boundary term (one per face and field), in every phase."""
    initial: int = Field(default=256, ge=32)
    """Points of each initial term, in every phase."""
    batch: int = Field(default=1024, ge=32)
    """Interior points of one step of a first-order phase, drawn anew at each."""
    pool: int = Field(default=8, ge=1)
    """Candidates per point when points are redrawn by residual (1: they are drawn uniformly)."""
    validation: int = Field(default=4096, ge=32)
    """Points of the equation that are never trained on, and by which the best state is chosen."""


class Integrator(Settings):
    """How ordinary differential equations are solved: by Diffrax, or while a network is trained by the classical Runge-Kutta method."""

    solver: Literal["auto", "tsit5", "dopri8", "kvaerno3", "kvaerno5", "kencarp5", "rk4"] = "auto"
    """"auto": explicit, or implicit where an explicit method struggles."""
    substeps: int = Field(default=1, ge=1)
    """Steps of "rk4" from one asked time to the next; its error is not controlled."""
    rtol: float = Field(default=1e-7, gt=0)
    """A network is trained with at least 1e-4, and an absolute tolerance of at least 1e-6."""
    atol: float = Field(default=1e-9, gt=0)
    """Absolute tolerance in units of each state's size."""
    max_steps: int = Field(default=4096, ge=16)
    """Of one solution over at most 256 sampling intervals; of a longer one in proportion."""


class Shooting(Settings):
    """Multiple shooting: windows of the series with starting states of their own, which grow up to `longest` in training."""

    intervals: int | None = Field(default=None, ge=1, examples=[5])
    """Sampling intervals of the first windows; without it, an eighth of those of all trajectories, between 2 and 16."""
    growth: int = Field(default=4, ge=2)
    """Factor between the lengths of windows of one stage and the next."""
    longest: int | None = Field(default=None, ge=1, examples=[64])
    """Longest windows in training; without it, a quarter of the longest trajectory. The refit joins them where it can."""
    continuity: float = Field(default=0.3, gt=0)
    """Gap between two windows that counts as much as one standard deviation of the noise, in units of it."""


class GivenField(Settings):
    """The vector field of the problem as it stands; only its unknown coefficients are found."""

    kind: Literal["given"] = "given"


class SparseField(Settings):
    """A linear combination of few candidate terms: monomials of the states and controls, and functions of single ones."""

    kind: Literal["sparse"] = "sparse"
    degree: int | None = Field(default=None, ge=1, le=6, examples=[3])
    """Highest degree of the monomials; without it the data choose between several libraries."""
    functions: tuple[Literal["sin", "cos", "exp", "log", "sqrt", "abs", "tanh"], ...] = ()
    """Functions of single variables beside the monomials."""


class NeuralField(Settings):
    """A network for the whole vector field, and a sparse model in its place where one fits about as well."""

    kind: Literal["neural"] = "neural"
    width: int = Field(default=24, ge=1)
    depth: int = Field(default=2, ge=1)
    activation: Literal["tanh", "sin", "swish", "gelu"] = "tanh"
    hidden: int = Field(default=0, ge=0)
    """States that nobody measured."""
    second_order: bool = False
    """Whether the channels are positions: each gets a velocity, a state that nobody measured, and only accelerations are modelled."""

    @model_validator(mode="after")
    def _velocities_are_all_that_is_hidden(self) -> NeuralField:
        if self.second_order and self.hidden:
            raise ValueError("second_order has a hidden velocity for each channel and no other hidden states; leave hidden out")
        return self


class UniversalField(Settings):
    """The vector field of the problem plus a network for what it lacks."""

    kind: Literal["universal"] = "universal"
    width: int = Field(default=16, ge=1)
    depth: int = Field(default=2, ge=1)
    activation: Literal["tanh", "sin", "swish", "gelu"] = "tanh"


VectorField = Annotated[GivenField | SparseField | NeuralField | UniversalField, Field(discriminator="kind")]
