"""What this problem is about, in one line."""

# Copy this file to problems/your_name.py (or let `sciml new problem your_name` do it), rename the class, and change what
# must hold. `sciml check your_name` then finds mistakes without training, `sciml run your_name` trains.
# As it stands it is a complete small problem: heat in a rod.

import jax.numpy as jnp

import sciml


class Template(sciml.Problem):
    r"""Heat in a rod with cold ends, $u_t = \kappa u_{xx}$.

    The first line appears in `sciml list`. Say here where the equation comes from (Fourier 1822, Theorie analytique de la
    chaleur).
    """

    # Coefficients: keyword arguments of the class and `[parameters]` in a config. To find one from data, write
    # `kappa: sciml.Unknown = sciml.Unknown(0.05, positive=True)` and add `sciml.Data.from_csv(path)` to the conditions.
    kappa: float = 0.1

    # Coordinates and their intervals. One called `t` is time; a problem without it is stationary.
    domain = sciml.Box(t=(0.0, 1.0), x=(0.0, 1.0))

    # Zero where the physics holds. The names of the arguments say what is computed: coordinates (`t`, `x`), fields (`u`) and
    # derivatives (`u_t`, `u_xx`). Return a tuple for several equations.
    def equation(self, u_t, u_xx):
        return u_t - self.kappa * u_xx

    # Values are numbers or functions of coordinates, with jnp. Also: Neumann, Robin, Periodic, Data, Integral.
    def conditions(self):
        return [sciml.Initial(self.start), sciml.Dirichlet(0.0, on="x")]

    def start(self, x):
        return jnp.sin(jnp.pi * x)

    # What the answer is compared with. Where nobody knows it, leave this out: a classical solver finds it where it can, and says how
    # good it is itself. Another reference: `def reference(self): return sciml.Reference(...)`.
    def exact(self, t, x):
        return jnp.exp(-self.kappa * jnp.pi**2 * t) * jnp.sin(jnp.pi * x)
