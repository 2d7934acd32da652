"""For each claim: a right run, and wrong ones that it must refuse."""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

from tests.claims import correlated_specs as correlated
from tests.claims import follow_up_specs as follow_up
from tests.claims import geometry_specs as geometry
from tests.claims import paper_specs as paper
from tests.claims.specs import Spec, another_cell, dead, linear, random_directions

Builder = Callable[[], Spec]


class Case(NamedTuple):
    """A builder for each experiment of a claim, in its order; a wrong run takes the place of its own."""

    right: tuple[Builder, ...]
    wrong: dict[str, Builder]


def changed(builder: Builder, change: Callable[[Spec], Spec]) -> Builder:
    return lambda: change(builder())


def case(*right: Builder, **wrong: Builder) -> Case:
    return Case(right, wrong)


def scrambled(builder: Builder) -> Builder:
    return changed(builder, random_directions)


def shifted(builder: Builder) -> Builder:
    """What belongs to another p (or another value of the grid's axis)."""
    return changed(builder, another_cell)


basic, intro = paper.basic, paper.intro
phase_2, phase_3 = paper.phase_2, paper.phase_3
sets, local_bases = correlated.correlated_sets, correlated.local_bases

CASES = {
    "analogies-are-exact": case(paper.analogy, not_broken=partial(paper.analogy, broken=False)),
    "superposition-costs-retrieval": case(
        paper.analogy, none=partial(paper.analogy, superposed=False),
        some=partial(paper.analogy, alone=2),
    ),
    "axes-square-pentagon": case(
        intro, shuffled_W=scrambled(intro), another_p=shifted(intro), linear=changed(intro, paper.two_axes)
    ),
    "linear-keeps-the-top": case(
        basic, shuffled_W=scrambled(basic), not_linear=changed(basic, paper.superposing),
        other_features=changed(basic, paper.least_important_alone),
    ),
    "linear-never-superposes": case(
        basic, paper.large, shuffled_W=scrambled(basic), not_linear=changed(basic, paper.superposing),
        no_feature=changed(basic, paper.no_linear),
    ),
    "relu-superposes-when-sparse": case(
        basic, linear=changed(basic, paper.all_linear), another_p=changed(basic, paper.reversed_densities)
    ),
    "antipodal-pairs-first": case(
        basic, shuffled_W=scrambled(basic), another_p=changed(basic, paper.reversed_densities)
    ),
    "least-important-first": case(
        basic, paper.large, most_important=changed(basic, paper.least_important_alone),
        begins_elsewhere=changed(basic, partial(paper.exchanged, p=0.5, one=4, other=6)),
        out_of_order=changed(basic, partial(paper.exchanged, p=0.3, one=1, other=7)),
        top_shares=changed(paper.large, partial(paper.exchanged, p=0.1, one=0, other=5)),
        no_large=changed(paper.large, dead), linear_large=changed(paper.large, linear),
    ),
    "ignored-features-get-their-mean": case(basic, another_p=changed(basic, paper.reversed_densities)),
    "superposition-pays": case(
        basic, linear=changed(basic, paper.all_linear), another_p=changed(basic, paper.reversed_densities)
    ),
    "phase-2-in-1": case(
        phase_2, shifted_theory=partial(phase_2, shift=3.0), another_p=shifted(phase_2),
        one_sign=partial(phase_2, signs=(1, 1)),
    ),
    "phase-3-in-2": case(
        phase_3, another_p=shifted(phase_3), no_fourth=partial(phase_3, fourth=False)
    ),
    "antipodal-pair-cost": case(
        phase_2, cheaper=partial(phase_2, shift=1.5), dearer=partial(phase_2, shift=0.99),
        one_sign=partial(phase_2, signs=(1, 1)),
    ),
    "phase-boundary": case(
        phase_2, another_p=partial(phase_2, shift=1.5), at_lower_p=partial(phase_2, shift=0.96),
        at_higher_p=partial(phase_2, shift=1.12),
    ),
    "phase-change-first-order": case(phase_2, second_order=partial(phase_2, pair_slope=0.3)),
    "half-the-starts-are-stuck": case(
        phase_2, none_is=partial(phase_2, stuck=False), opposite_signs=partial(phase_2, signs=(-1, -1)),
        one_sign_costs_nothing=partial(phase_2, cheap=True), pairs_are_dear=partial(phase_2, shift=0.6),
    ),
    "sticky-one": case(geometry.geometry, smooth=geometry.smooth),
    "sticky-half": case(
        geometry.geometry, smooth=geometry.smooth, another_p=shifted(geometry.smooth), knee=geometry.knee
    ),
    "half-is-antipodal-pairs": case(
        geometry.geometry, shuffled_W=scrambled(geometry.geometry), another_p=shifted(geometry.geometry),
        not_antipodal=geometry.crosses,
    ),
    "twice-the-dimensions-twice-the-features": case(
        paper.doubling, same_size=partial(paper.doubling, grows=False),
        longer_only=partial(paper.doubling, grows=False, longer=True),
    ),
    "line-at-half": case(
        geometry.dimensionality, shuffled_W=scrambled(geometry.dimensionality),
        more_pentagons=partial(geometry.dimensionality, digons=False),
    ),
    "tegum-products": case(
        geometry.dimensionality, shuffled_W=scrambled(geometry.dimensionality),
        all_dedicated=partial(geometry.dimensionality, shared=False), leaning=geometry.leaning,
    ),
    "pentagons-and-antiprisms": case(
        geometry.dimensionality, geometry.geometry, shuffled_W=scrambled(geometry.dimensionality),
        another_p=shifted(geometry.dimensionality), no_line=scrambled(geometry.geometry),
    ),
    "pure-polytopes": case(geometry.polytopes, shuffled_W=scrambled(geometry.polytopes)),
    "dimensions-add-up": case(
        geometry.geometry, shuffled_W=scrambled(geometry.geometry), half_empty=geometry.half_empty
    ),
    "signed-sums-measure-nothing": case(
        geometry.polytopes, shuffled_W=scrambled(geometry.polytopes),
        no_feature=partial(geometry.polytopes, size=0.1),
    ),
    "polygon-norm-and-bias": case(
        geometry.polytopes, other_bias=partial(geometry.polytopes, bias=-0.1),
        shuffled_W=scrambled(geometry.polytopes),
    ),
    "pentagon-deforms": case(
        geometry.perturbed, rigid=partial(geometry.perturbed, rigid=True),
        another_p=shifted(geometry.perturbed),
    ),
    "pentagon-snaps": case(
        geometry.perturbed, digons_cheaper=partial(geometry.perturbed, digons_cost=0.7),
        digons_dearer=partial(geometry.perturbed, digons_cost=1.3),
        one_slope=partial(geometry.perturbed, digons_slope=0.4), shuffled_W=scrambled(geometry.perturbed),
        another_p=shifted(geometry.perturbed),
    ),
    "correlated-orthogonal": case(
        sets, swapped=partial(sets, swapped=True), indifferent=partial(sets, opposite=(9, 9, 9, 9)),
        at_no_correlation_too=partial(sets, opposite=(0, 0, 0, 0)),
    ),
    "partial-correlation-suffices": case(
        sets, swapped=partial(sets, swapped=True), indifferent=partial(sets, cost=(1.05, 1.05, 1.05, 1.05)),
        at_no_correlation_too=partial(sets, cost=(3.0, 3.0, 3.0, 3.0)),
    ),
    **{
        name: case(
            sets, swapped=partial(sets, swapped=True), indifferent=partial(sets, apart=1.0001), **others
        )
        for name, others in {
            "correlated-side-by-side": {"most_are_apart": partial(sets, hexagons=2)},
            "anticorrelated-antipodal": {},
        }.items()
    },
    "local-bases": case(
        local_bases, shuffled_W=scrambled(local_bases), another_p=shifted(local_bases),
        no_feature=partial(local_bases, known=0), one_set=partial(local_bases, known=10),
    ),
    "collapse-starts-as-hexagon": case(
        correlated.collapse, another_p=changed(correlated.collapse, paper.reversed_densities),
        shuffled_W=scrambled(correlated.collapse),
    ),
    "collapse-staircase": case(
        correlated.collapse, another_p=changed(correlated.collapse, paper.reversed_densities),
        shuffled_W=scrambled(correlated.collapse),
    ),
    "collapse-ends-in-pca": case(
        correlated.collapse, another_p=changed(correlated.collapse, paper.reversed_densities),
        shuffled_W=scrambled(correlated.collapse), cheaper=partial(correlated.collapse, last=0.95),
        dearer=partial(correlated.collapse, last=1.03),
        another_plane=partial(correlated.collapse, collapses=False),
    ),
    "jumps-hold-the-drops": case(
        paper.energy_levels, steady=partial(paper.energy_levels, steady=True),
        wide=partial(paper.energy_levels, wide=True), twice=partial(paper.energy_levels, twice=True),
        nowhere=partial(paper.energy_levels, start=90.0, end=49.0),
    ),
    "octahedron": case(
        paper.octahedron, shuffled_W=scrambled(paper.octahedron),
        by_luck=partial(paper.octahedron, lucky=True),
    ),
    "octahedron-in-stages": case(
        paper.octahedron, no_plateau=partial(paper.octahedron, flat=False),
        full_rank=partial(paper.octahedron, at_once=True),
    ),
    "ranks-in-turn": case(
        paper.octahedron, at_once=partial(paper.octahedron, at_once=True),
        one_by_one=partial(paper.octahedron, one_by_one=True),
    ),
    "superposition-is-vulnerable": case(
        paper.adversarial, another_p=shifted(paper.adversarial),
        all_are=partial(paper.adversarial, least=3.5),
    ),
    "vulnerability-follows-crowding": case(
        paper.adversarial, another_order=partial(paper.adversarial, follows=False)
    ),
    "privileged-basis": case(
        follow_up.neurons, basic, rotated=follow_up.unaligned_neurons,
        aligned_without=partial(basic, turned=False),
    ),
    "neurons-become-polysemantic": case(
        follow_up.neurons, another_p=shifted(follow_up.neurons), shuffled_W=scrambled(follow_up.neurons),
        silent=partial(follow_up.neurons, silent=True),
    ),
    "neuron-level-phase-change": case(
        follow_up.neurons, all_at_once=partial(follow_up.neurons, mixed=False),
        silent=partial(follow_up.neurons, silent=True),
        shuffled_W=scrambled(follow_up.neurons),
    ),
    "best-neurons-are-rare": case(
        partial(follow_up.neurons, restarts=1000),
        common=partial(follow_up.neurons, near=1000, restarts=1000),
        one_in_thirty=partial(follow_up.neurons, near=33, restarts=1000),
    ),
    "two-neurons-a-feature": case(
        follow_up.absolute_small, one_sign=partial(follow_up.absolute_small, single=True),
        shuffled_W=scrambled(follow_up.absolute_small),
    ),
    "computing-in-superposition": case(
        follow_up.absolute_large, none=partial(follow_up.absolute_large, superposes=False),
        another_p=shifted(follow_up.absolute_large),
        dense_too=partial(follow_up.absolute_large, dense=22),
        badly_trained=partial(follow_up.absolute_large, dense=15),
    ),
    "computing-neurons-mix": case(
        follow_up.absolute_large, silent=partial(follow_up.absolute_large, silent=True),
        none=partial(follow_up.absolute_large, superposes=False),
        another_p=shifted(follow_up.absolute_large), shuffled_W=scrambled(follow_up.absolute_large),
        crossed=partial(follow_up.absolute_large, crossed=True),
    ),
    "asymmetric-motif": case(
        follow_up.motif, not_inhibited=partial(follow_up.motif, inhibited=False),
        random=changed(follow_up.motif, follow_up.gaussian),
        reads_a_third=partial(follow_up.motif, third=1.0),
    ),
    "l1-aligns-with-neurons": case(
        follow_up.remedies, shuffled_W=scrambled(follow_up.remedies),
        another_penalty=shifted(follow_up.remedies),
    ),
    "l1-removes-superposition": case(
        follow_up.remedies, another_penalty=shifted(follow_up.remedies),
        shuffled_W=scrambled(follow_up.remedies), dead=partial(follow_up.remedies, dead=True),
    ),
    "l1-costs-features": case(
        follow_up.remedies, another_penalty=shifted(follow_up.remedies),
        for_nothing=partial(follow_up.remedies, free=0.15),
        dear_from_the_start=partial(follow_up.remedies, weakest=0.1),
    ),
    "data-points-form-polygons": case(
        follow_up.memorization, no_polygon=partial(follow_up.memorization, polygons=False),
        doubled_points=partial(follow_up.memorization, doubled=True),
        unfitted=partial(follow_up.memorization, unfitted=True),
        shuffled_W=scrambled(follow_up.memorization),
    ),
    "features-form-a-pentagon": case(
        follow_up.memorization, another_T=shifted(follow_up.memorization),
        shuffled_W=scrambled(follow_up.memorization), six=partial(follow_up.memorization, sixth=True),
        short=partial(follow_up.memorization, size=0.6), long=partial(follow_up.memorization, size=2.0),
    ),
    "data-points-first-features-later": case(
        follow_up.memorization, another_T=shifted(follow_up.memorization),
        unfitted=partial(follow_up.memorization, unfitted=True),
        useless=partial(follow_up.memorization, useless=True),
    ),
    "no-grokking": case(follow_up.memorization, grokking=partial(follow_up.memorization, late=True)),
    "double-descent": case(
        follow_up.double_descent, another_T=shifted(follow_up.double_descent),
        early=partial(follow_up.double_descent, early=True),
    ),
    "weight-decay-removes-the-bump": case(
        follow_up.double_descent, not_removed=partial(follow_up.double_descent, decayed=False),
        dead=partial(follow_up.double_descent, dead=True),
    ),
    "larger-models-need-more-data": case(
        follow_up.double_descent, same_data=partial(follow_up.double_descent, moved=False),
        early_too=partial(follow_up.double_descent, level=1.3),
        no_bump=partial(follow_up.double_descent, level=-1.0),
        jumbled=changed(follow_up.double_descent, follow_up.jumbled_sizes),
    ),
    "capacity-is-used-up": case(follow_up.capacity, shuffled_W=scrambled(follow_up.capacity)),
    "capacity-follows-importance": case(
        follow_up.capacity, another_importance=shifted(follow_up.capacity),
        falls_once=partial(follow_up.capacity, falls=True),
    ),
    "dense-features-get-all-or-nothing": case(
        follow_up.capacity, another_p=shifted(follow_up.capacity), shuffled_W=scrambled(follow_up.capacity)
    ),
    "sparse-features-share": case(follow_up.capacity, another_p=shifted(follow_up.capacity)),
    "incidental-polysemanticity": case(
        follow_up.incidental, shuffled_W=scrambled(follow_up.incidental),
        one_sign=partial(follow_up.incidental, opposite=False),
    ),
    "more-neurons-fewer-accidents": case(
        follow_up.incidental, same_count=partial(follow_up.incidental, halves=False)
    ),
}  # fmt: skip
