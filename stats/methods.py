"""The methods behind the numbers, each with the words and the reference that a table or report prints."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Method:
    """A method as a reader meets it."""

    title: str
    how: str
    """What it does, in one line."""
    reference: str


METHODS: dict[str, Method] = {
    "components-wilson": Method(
        "Wilson interval on variance components",
        "Mean of the cell means; Wilson with a t quantile on the effective sample size of the chosen scope; shares of "
        "the variance are shrunk towards those of the other preferences, for prompts one sd above their mean.",
        "Wilson 1927; Korn & Graubard 1998; Franco, Little, Louis & Slud 2019; Satterthwaite 1946; Smyth 2004",
    ),
    "wilson": Method(
        "Wilson score interval",
        "Independent yes/no answers; prompts and training seeds are ignored.",
        "Wilson 1927; Brown, Cai & DasGupta 2001",
    ),
    "paper": Method(
        "The paper's bar",
        "Mean ± 1.96 sd/√n over all answers pooled; prompts and training seeds are ignored, 0 of n gives ± 0.",
        "Chua, Betley, Marks & Evans 2026, arXiv 2604.13051",
    ),
    "anova": Method(
        "Variance components by the analysis of variance",
        "Mean squares of training seed, prompt, their interaction and run, solved for the variances.",
        "Searle, Casella & McCulloch 1992",
    ),
    "reml": Method(
        "Variance components by REML",
        "Restricted likelihood of the cell means and the sum of squares within cells; for unbalanced layouts.",
        "Patterson & Thompson 1971; Searle, Casella & McCulloch 1992",
    ),
    "icc": Method(
        "Intraclass correlation",
        "Share of the variance between groups, one-way; interval from the F ratio.",
        "McGraw & Wong 1996",
    ),
    "paired-t": Method(
        "Contrast paired by prompt",
        "t interval of the mean difference over prompts, with the variance between training seeds added, which is "
        "shrunk as in the group's own interval.",
        "Satterthwaite 1946; Searle, Casella & McCulloch 1992; Smyth 2004",
    ),
    "mover": Method(
        "Difference from two intervals (MOVER)",
        "The arms' own intervals combined as independent; used near the ends of the scale; no p value.",
        "Newcombe 1998; Zou & Donner 2008",
    ),
    "holm": Method("Holm", "Step-down p values; controls the chance of any false claim.", "Holm 1979"),
    "bh": Method(
        "Benjamini-Hochberg",
        "q values: the expected share of false findings.",
        "Benjamini & Hochberg 1995",
    ),
    "by": Method(
        "Benjamini-Yekutieli",
        "q values that hold under any dependence.",
        "Benjamini & Yekutieli 2001",
    ),
    "raw-agreement": Method("Raw agreement", "Share of pairs of ratings that are the same.", "—"),
    "cohen-kappa": Method(
        "Cohen's kappa",
        "Agreement of two raters beyond what their own rates give by chance; optionally weighted by distance.",
        "Cohen 1960, 1968",
    ),
    "gwet-ac": Method(
        "Gwet's AC1 and AC2",
        "Agreement beyond chance that stays meaningful where one category is rare.",
        "Gwet 2008",
    ),
    "krippendorff-alpha": Method(
        "Krippendorff's alpha",
        "1 - observed/expected disagreement; any number of raters, missing ratings, several metrics.",
        "Hayes & Krippendorff 2007",
    ),
    "stratified-ppi": Method(
        "Stratified prediction-powered inference",
        "The judge's mean plus the mean of label - judge, by strata; half a label more at each of the largest errors; "
        "for new prompts the variance between prompts of the corrected outcomes.",
        "Angelopoulos et al. 2023, arXiv 2301.09633; Fisch et al. 2024, arXiv 2406.04291",
    ),
    "ipw": Method(
        "Inverse-probability weighting",
        "The judge's mean plus the mean of label - judge weighted by 1/inclusion probability, over the sum of weights.",
        "Horvitz & Thompson 1952; Hájek 1971; Zrnic & Candès 2024, arXiv 2403.03208",
    ),
    "ppi++": Method(
        "PPI++",
        "As prediction-powered inference, with an estimated weight of the judge's part; from 100 labels drawn without "
        "strata and 20 positive ones on.",
        "Angelopoulos, Duchi & Zrnic 2023, arXiv 2311.01453",
    ),
    "rogan-gladen": Method(
        "Rogan-Gladen",
        "The rate that a judge's rate stands for, given its sensitivity and specificity on the labelled answers, "
        "which are weighted by their strata.",
        "Rogan & Gladen 1978; Lang & Reiczigel 2014",
    ),
    "differential-error": Method(
        "Differential judge error",
        "Difference of the judge's sensitivity, specificity or bias between two groups, with a normal test.",
        "Särndal, Swensson & Wretman 1992",
    ),
    "noise-floor": Method(
        "Noise floor of annotators",
        "Error rate e of one annotator if two differ at the rate 2 e (1 - e): symmetric and independent errors.",
        "—",
    ),
    "mcnemar": Method(
        "McNemar",
        "Exact test of whether a judge errs more often in one direction.",
        "McNemar 1947",
    ),
    "power-paired-t": Method(
        "Power of the paired t test",
        "Noncentral t; effects in standard deviations of the paired differences.",
        "Cohen 1988",
    ),
    "planner": Method(
        "Planned width",
        "The interval's own formula for a balanced design with the same shares of the variance.",
        "Searle, Casella & McCulloch 1992; Cochran 1977",
    ),
    "beta-mixture": Method(
        "Beta-mixture confidence sequence",
        "Valid at every look while answers come in; answers in random launch order up to the first still awaited.",
        "Robbins 1970; Howard, Ramdas, McAuliffe & Sekhon 2021",
    ),
    "hedged-betting": Method(
        "Hedged betting confidence sequence",
        "Valid at every look while scores come in; bets against each candidate mean, in random launch order.",
        "Waudby-Smith & Ramdas 2024, arXiv 2010.09686",
    ),
    "seed-permutation": Method(
        "Permutation test across training seeds",
        "Runs shuffled between training seeds within each prompt; variance of the seed means; 9,999 permutations.",
        "Phipson & Smyth 2010",
    ),
    "seed-f": Method(
        "F test across training seeds",
        "Mean square of seeds over that of seed x prompt: would the difference show on other prompts?",
        "Searle, Casella & McCulloch 1992",
    ),
    "panel-reliability": Method(
        "Reliability of a judge panel",
        "ICC(A,1) and ICC(A,k) of transcripts by judges, both random, without replication.",
        "McGraw & Wong 1996",
    ),
    "effects": Method(
        "Sizes of a difference",
        "Ratio of the rates (of the distances from 1 of scores); standardised mean difference over prompts, corrected "
        "for few of them; Cliff's delta over answers; exact sign-flip p over prompts, up to 20.",
        "Hedges 1981; Cliff 1993; Fisher 1935",
    ),
    "sign-flip": Method(
        "Exact sign-flip test",
        "All flips of the signs of the prompt differences; p is at least 2/2^J for J prompts.",
        "Fisher 1935",
    ),
}
"""By the id that tables and exports carry."""
