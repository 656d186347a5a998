"""Hares and lynxes around Hudson Bay: which predator-prey cycle lies behind the fur trade's pelts?"""

from pathlib import Path

import sciml


class HareLynx(sciml.Dynamics):
    r"""Lotka-Volterra behind 21 years of pelts: $\dot h = \alpha h - \beta h l$, $\dot l = \delta h l - \gamma l$ (Hewitt 1921).

    Thousands of pelts, 1900-1920, taken for the populations; errors by a factor. The last five years are held out.
    """

    alpha: sciml.Unknown = sciml.Unknown(0.5, positive=True)
    beta: sciml.Unknown = sciml.Unknown(0.03, positive=True)
    gamma: sciml.Unknown = sciml.Unknown(1.0, positive=True)
    delta: sciml.Unknown = sciml.Unknown(0.03, positive=True)
    noise = sciml.LogNormal()
    hold_out = 5

    def vector_field(self, hare, lynx):
        return (self.alpha - self.beta * lynx) * hare, (self.delta * hare - self.gamma) * lynx

    def series(self):
        return sciml.TimeSeries.from_csv(Path(__file__).with_suffix(".csv"))
