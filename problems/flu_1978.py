"""Influenza in a boarding school: how fast does it spread, and how long is a boy infectious?"""

from pathlib import Path

import sciml


class Flu1978(sciml.Dynamics):
    r"""Influenza in an English boarding school, 1978: $\dot S = -\beta S I / N$, $\dot I = \beta S I / N - \gamma I$ (BMJ 1978, 1, 587).

    Kermack & McKendrick (1927) for $N = 763$ boys; the number of boys in bed on each of 14 days is taken for $I$. The counts are those
    of the digitisation behind $\beta = 1.66$ per day and $\gamma = 1/2.2$ per day; others differ from it by a few boys.
    """

    beta: sciml.Unknown = sciml.Unknown(1.0, positive=True)
    gamma: sciml.Unknown = sciml.Unknown(0.5, positive=True)
    infected: sciml.Unknown = sciml.Unknown(1.0, positive=True)
    boys: float = 763.0

    def vector_field(self, S, I):
        infections = self.beta * S * I / self.boys
        return -infections, infections - self.gamma * I

    def initial(self):
        return {"S": self.boys - self.infected, "I": self.infected}

    def observe(self, I):
        return {"in_bed": I}

    def series(self):
        return sciml.TimeSeries.from_csv(Path(__file__).with_suffix(".csv"))
