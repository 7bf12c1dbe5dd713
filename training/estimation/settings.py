"""`ClosedFormSettings`: the hyperparameters of the closed form."""

from pydantic import BaseModel, ConfigDict, Field


class ClosedFormSettings(BaseModel):
    """Hyperparameters of the closed form; the defaults were chosen on the supervised dev split of KAMEL.

    `fit` chooses `kappa`, `shrinkage` and `background_weight` by leave-one-out on its examples, and on validation
    examples `intraclass_correlation` as well.

    Attributes
    ----------
    kappa
        Weight of a description, in examples.
    intraclass_correlation
        Correlation of a tool's examples with each other; see `closed_form.effective_sample_size`.
    shrinkage
        Shrinkage of the covariance towards a multiple of the identity, between 0 and 1.
    background_weight
        Weight of the background's covariance, in degrees of freedom.
    residual_weight
        Weight of the tools' distances from their prior means in the covariance; 1 in the normal-inverse-Wishart model.
    prior_shrinkage
        Shrinkage of the background's covariance in the metric of descriptions.
    sharing
        Prior variance of the part of the tools' means that a regression on the descriptions explains, as a multiple of
        the variance of their deviations from it; 0 for no regression.
    allowance
        Share of the loss of score by an uncertain mean that the bias makes up for; see `closed_form`.
    alignment
        Prior length of a tool's mean along its description's direction, in standard deviations of the background.
    alignment_weight
        Weight of this prior length, in tools.
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


#: Initial settings for a prior with a teacher, which weighs more examples. Chosen on KAMEL's supervised dev split.
TAUGHT = ClosedFormSettings(kappa=8.0)
