"""Refines the most promising poses of a slice by the cross-entropy method (Rubinstein & Kroese 2004), rotations and tilts included."""

from __future__ import annotations

from typing import Protocol

import numpy as np

from xai.atlas_poses import POSE, mirrored

STEP = np.array([3.0, 0.05, 0.09, 0.07, 0.07, 0.023, 0.023, 0.04])
FIRST_TILT_SD = 0.17
SEEDS, PARTICLES, ROUNDS = 10, 150, 6


class Target(Protocol):
    """What poses are scored against."""

    plane: str

    def score(self, poses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Log posterior up to a constant, and NCC, of each pose; (P, 8) -> (P,), (P,)."""


def refine(target: Target, seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """All poses tried around the seeds (S, 8), best first: poses (Q, 8), log posteriors (Q,), NCC (Q,).

    Each seed has its own family of poses for half the rounds, so that no early favourite ends the search; then the
    best poses of all families share the rest.
    """
    generator = np.random.default_rng(0)
    families = np.repeat(np.arange(len(seeds)), PARTICLES // len(seeds))
    poses = seeds[families] + generator.normal(size=(len(families), len(POSE))) * STEP * 0.7
    poses[:, 3] += generator.normal(size=len(poses)) * FIRST_TILT_SD
    poses[np.flatnonzero(np.diff(families, prepend=-1))] = seeds
    poses = mirrored(poses, target.plane)
    scores, nccs = target.score(poses)
    for number in range(1, ROUNDS):
        parents, spread = _parents(poses, scores, families, number, generator)
        new = mirrored(poses[parents] + generator.normal(size=(len(parents), len(POSE))) * spread, target.plane)
        new_scores, new_nccs = target.score(new)
        poses, scores = np.concatenate([poses, new]), np.concatenate([scores, new_scores])
        nccs, families = np.concatenate([nccs, new_nccs]), np.concatenate([families, families[parents]])
    order = np.argsort(-scores)
    return poses[order], scores[order], nccs[order]


def _parents(poses, scores, families, number, generator) -> tuple[np.ndarray, np.ndarray]:
    """Which poses have offspring in this round, and the standard deviation of their change."""
    order = np.argsort(-scores)
    if number < ROUNDS // 2:
        members = [order[families[order] == family][:4] for family in np.unique(families)]
        members.sort(key=lambda member: -scores[member[0]])
        members = members if number == 1 else members[: SEEDS // 2 + 1]
        return np.concatenate([generator.choice(member, PARTICLES // len(members)) for member in members]), STEP * 0.5
    elite = order[:30]
    weights = np.exp((scores[elite] - scores[elite[0]]) / 4)
    spread = np.clip(poses[elite].std(axis=0), 0.12 * STEP, STEP) * 0.8
    return generator.choice(elite, PARTICLES, p=weights / weights.sum()), spread
