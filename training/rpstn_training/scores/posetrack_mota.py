"""Multiple object tracking accuracy (MOTA) and precision (MOTP) of PoseTrack's joints, after its reference tools
poseval and motmetrics (CLEAR MOT: Bernardin and Stiefelhagen, EURASIP JIVP 2008), and the identities' F1.

Each joint is tracked by itself. In a frame, a person keeps the track that it had before if that matches still; the
others are matched one to one, as many as possible and then with the least sum of distances.

    MOTA = 1 - (misses + switches + false positives) / objects
    MOTP = 1 - sum of distances / (matches + switches)

Odd rules of the reference tools are kept, because published numbers hold them: the last frame of a sequence is left
out; a frame without predictions, or without people after the ignored regions, is one missed object and one false
positive; MOTP's sum takes each possible pair in, not only the matched ones, and a pair twice or three times where a
track changes hands. A joint without a match has a MOTP of 0.

IDF1 (Ristani et al., ECCV workshops 2016) asks who is who through a whole sequence: people and tracks are paired one to
one, so that the pairs match in as many frames as possible, together IDTP times;

    IDF1 = 2 IDTP / (objects + predicted)

poseval does not know it, so none of its odd rules hold here: every frame that is scored counts, as it is. A match is
the same as above, a joint within half a head.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy.optimize import linear_sum_assignment

from .posetrack_ap import Pairs, People


@dataclass
class MotCounts:
    """Counts of one joint, added up over sequences."""

    misses: int = 0
    switches: int = 0
    false_positives: int = 0
    objects: int = 0
    detections: int = 0
    distance: float = 0.0
    identified: int = 0  # IDTP
    all_objects: int = 0  # in every frame, as IDF1 counts, and so
    predicted: int = 0


@dataclass
class _Sequence:
    """Who was whose in the frames of one sequence so far."""

    track_of: dict[int, int] = field(default_factory=dict)
    person_of: dict[int, int] = field(default_factory=dict)  # set by new matches alone, as motmetrics has it
    seen_people: set[int] = field(default_factory=set)  # matched at least once
    seen_tracks: set[int] = field(default_factory=set)

    def frame(self, people: np.ndarray, tracks: np.ndarray, distances: np.ndarray, counts: MotCounts) -> None:
        """Add one frame to `counts`: ids of G people and P tracks, `distances` [G, P], NaN for what is no match."""
        counts.distance += float(np.nansum(distances))
        free_people, free_tracks = np.ones(len(people), dtype=bool), np.ones(len(tracks), dtype=bool)
        open_pairs = np.isfinite(distances)
        for g, person in enumerate(people):
            if person not in self.track_of:
                continue
            same = np.flatnonzero(free_tracks & (tracks == self.track_of[person]))
            if len(same) and open_pairs[g, same[0]]:
                free_people[g] = free_tracks[same[0]] = False
                counts.detections += 1
                counts.distance += float(distances[g, same[0]])
                self.seen_people.add(person)
                self.seen_tracks.add(int(tracks[same[0]]))
        open_pairs &= free_people[:, None] & free_tracks
        for g, p in zip(*_assign(distances, open_pairs)):
            person, track, distance = people[g], int(tracks[p]), float(distances[g, p])
            times = 1
            if person in self.track_of and self.track_of[person] != track:
                counts.switches += 1
                times += track not in self.seen_tracks
            if track in self.person_of and self.person_of[track] != person:
                times += 1 + (person not in self.seen_people)
            counts.detections += 1
            counts.distance += times * distance
            self.seen_tracks.add(track)
            self.seen_people.add(person)
            self.track_of[person], self.person_of[track] = track, person
            free_people[g] = free_tracks[p] = False
        counts.misses += int(free_people.sum())
        counts.false_positives += int(free_tracks.sum())
        counts.objects += len(people)


def _assign(distances: np.ndarray, allowed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns of the allowed pairs that are matched: as many as possible, then the least sum."""
    if (allowed.sum(axis=0) <= 1).all() and (allowed.sum(axis=1) <= 1).all():
        return np.nonzero(allowed)
    # A forbidden pair costs more than all allowed ones together.
    forbidden = 2 * min(allowed.shape) * (np.abs(distances[allowed]).max() + 1) + 1
    rows, columns = linear_sum_assignment(np.where(allowed, distances, forbidden))
    good = allowed[rows, columns]
    return rows[good], columns[good]


@dataclass(frozen=True, kw_only=True)
class MotResult:
    """Fractions per joint [K]; NaN where nothing was counted. `counts` per joint."""

    mota: np.ndarray
    motp: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    idf1: np.ndarray
    counts: tuple[MotCounts, ...]


def tracking(sequences: Iterable[Sequence[tuple[People, People, Pairs]]], joints: int) -> MotResult:
    """MOTA, MOTP, precision, recall and IDF1 of `joints` joints over sequences of frames of (people, predictions, their
    pairs). Track ids need to be unique in a frame; they mean nothing beyond their sequence. A sequence of one frame
    adds nothing but to IDF1, because that is its last one (poseval stops there).
    """
    counts = tuple(MotCounts() for _ in range(joints))
    for frames in sequences:
        states = [_Sequence() for _ in range(joints)]
        _identify(frames, counts)
        for truth, found, pairs in frames[:-1]:
            if not len(truth) or not len(found):
                for one in counts:
                    one.misses += 1
                    one.false_positives += 1
                    one.objects += 1
                continue
            distances = np.where(pairs.matches, pairs.distances, np.nan).transpose(2, 1, 0)  # [K, G, P]
            for joint, state in enumerate(states):
                people, tracks = truth.present[:, joint], found.present[:, joint]
                state.frame(
                    truth.tracks[people],
                    found.tracks[tracks],
                    distances[joint][people][:, tracks],
                    counts[joint],
                )
    return MotResult(
        mota=np.array(
            [1 - _share(one.misses + one.switches + one.false_positives, one.objects) for one in counts]
        ),
        motp=np.array([1 - one.distance / one.detections if one.detections else 0.0 for one in counts]),
        precision=np.array([_share(one.detections, one.detections + one.false_positives) for one in counts]),
        recall=np.array([_share(one.detections, one.objects) for one in counts]),
        idf1=np.array([_share(2 * one.identified, one.all_objects + one.predicted) for one in counts]),
        counts=counts,
    )


def _identify(frames: Sequence[tuple[People, People, Pairs]], counts: Sequence[MotCounts]) -> None:
    """Add one sequence's identities to the counts of the joints."""
    people, tracks = (
        np.unique(np.concatenate([frame[place].tracks for frame in frames] or [np.zeros(0, int)]))
        for place in (0, 1)
    )
    together = np.zeros((len(counts), len(people), len(tracks)), dtype=np.int64)
    for truth, found, pairs in frames:
        rows, columns = np.searchsorted(people, truth.tracks), np.searchsorted(tracks, found.tracks)
        np.add.at(together, np.s_[:, rows[:, None], columns], pairs.matches.transpose(2, 1, 0))
        for joint, one in enumerate(counts):
            one.all_objects += int(truth.present[:, joint].sum())
            one.predicted += int(found.present[:, joint].sum())
    for one, frames_of in zip(counts, together):
        one.identified += int(frames_of[linear_sum_assignment(frames_of, maximize=True)].sum())


def _share(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
