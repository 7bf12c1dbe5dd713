"""`ClosedFormSettings`: the numbers of the closed form."""

from pydantic import BaseModel, ConfigDict, Field


class ClosedFormSettings(BaseModel):
    """Numbers of the closed form; the defaults were chosen on the supervised dev split of KAMEL.

    `fit` chooses `kappa`, `shrinkage` and `background_weight` by leave-one-out on its examples, and on validation
    examples `intraclass_correlation` as well.

    Attributes
    ----------
    kappa
        Weight of a description, in examples.
    intraclass_correlation
        How far a tool's examples are alike in what sets them apart from the requests to come; see `closed_form.worth`.
    shrinkage
        Share of a multiple of the identity in the covariance, between 0 and 1.
    background_weight
        Weight of the background's covariance, in degrees of freedom.
    residual_weight
        Weight of the tools' distances from their prior means in the covariance; 1 where the model of normal means
        were exact.
    prior_shrinkage
        The same share in the metric in which descriptions are compared.
    sharing
        How much of what the descriptions leave open about the tools' means is expected to be common to tools with
        similar descriptions, as a multiple of what is each tool's own; 0 to learn nothing from one tool about another.
    allowance
        Share of the d dimensions in which not knowing a tool's mean adds to its distance from its own states.
    alignment
        Expected length of a tool's mean along its description's direction, in standard deviations of the background;
        what is assumed of tools before any of them has an example.
    alignment_weight
        Weight of that assumption, in tools.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kappa: float = Field(default=4.0, gt=0)
    intraclass_correlation: float = Field(default=0.05, ge=0, lt=1)
    shrinkage: float = Field(default=0.05, ge=0, lt=1)
    background_weight: float = Field(default=100.0, gt=0)
    residual_weight: float = Field(default=0.3, ge=0, le=1)
    prior_shrinkage: float = Field(default=0.1, ge=0, lt=1)
    sharing: float = Field(default=0.5, ge=0)
    allowance: float = Field(default=0.2, ge=0)
    alignment: float = Field(default=5.0, gt=0)
    alignment_weight: float = Field(default=5.0, gt=0)


#: Where to begin for a prior with a teacher, which is worth more examples. Chosen on KAMEL's supervised dev split.
TAUGHT = ClosedFormSettings(kappa=8.0)
