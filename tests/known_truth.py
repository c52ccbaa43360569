"""Synthetic videos with known truth: things move, meet, appear, grow and change colour over a textured ground.

In `people` and `cycle` they are people before a fixed camera, who walk, or repeat a motion every few seconds. `montage`
cuts between three scenes, each with things of its own.

A video is a *story*, a function from story time to the state of all things, and a *clock* from video time to story
time. Planted ambiguities are clocks that repeat a moment (`twins`), run the story back and forth (`swing`) or repeat it
(`loop`), and a story in which things run a circle in four poses and return to their place (`orbit`).

The truth depends on the states alone, never on pixels. Two frames are *indistinguishable* if they show the same things,
no point of one has moved by 2 % of the frame width, and no colour by a tenth. Two frames are of one *scene* if they
show a common thing. The order of a run of several scenes is ambiguous if another one that keeps each scene's needs
no more cuts, and things move no further in it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import combinations, pairwise, permutations
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from mvp_data.core.types import Picture
from tests.clips import render
from tests.people import draw_person
from tests.scenes import SAME_BYTES

State = npt.NDArray[np.float64]  # [things, 8]: x, y, radius (shares of the width), red, green, blue, turn (rad), shown
Clock = Callable[[float], float]

SIZE = (224, 126)
FPS = 4
MOVED, RECOLOURED = 0.02, 0.1  # visible differences: shares of the frame width and of the colour range
ABSENT = 10.0  # tolerances by which a visible thing differs from an absent one
CUT = 12.0  # tolerances between two frames above which they show no velocity
KINDS = ("story", "twins", "swing", "loop", "orbit", "people", "cycle", "montage")
NOISE = 3.0  # levels of 255, standard deviation, of the painted sensor
STEP_S = 4  # between two turning points of a story
SCENES = 3  # of a montage


@dataclass(frozen=True, kw_only=True)
class Film:
    """A synthetic video of a kind, which depends on the seed alone. `seconds` is its length."""

    kind: str
    seed: int
    seconds: int = 60

    @property
    def name(self) -> str:
        """The name of its file."""
        return f"{self.kind}-{self.seed:04d}.mp4"

    @classmethod
    def named(cls, path: str, seconds: int) -> "Film":
        """The film that was rendered under this name."""
        kind, seed = Path(path).stem.split("-")
        return cls(kind=kind, seed=int(seed), seconds=seconds)

    def rng(self, part: int) -> np.random.Generator:
        """A generator for one part of the film, independent of the others."""
        return np.random.default_rng([self.seed, KINDS.index(self.kind), part])

    def state(self, time_s: float) -> State:
        """All things in the frame that is shown at this time."""
        return _state(self, round(time_s * FPS))

    def at(self, frame: int) -> State:
        """All things in frame `frame`, without the cache."""
        at_s = self.clock(frame / FPS)
        special = {"orbit": self._orbit, "people": self._people, "cycle": self._people, "montage": self._montage}
        return special.get(self.kind, self._story)(at_s)

    def clock(self, time_s: float) -> float:
        """The story time at this video time."""
        if self.kind == "twins":
            for start_s, back_s in self.planted:
                if start_s <= time_s < start_s + 1:
                    return time_s - back_s
        if self.kind == "swing":
            return 20 + self._reach_s * float(np.cos(2 * np.pi * time_s / self._period_s))
        if self.kind == "loop":
            return time_s % self._period_s
        return time_s

    @property
    def planted(self) -> list[tuple[int, int]]:
        """Seconds that repeat an earlier second: start, and distance to it. Each contains one sample."""
        rng = self.rng(1)
        return [(start, int(rng.integers(6, start))) for start in range(14, self.seconds - 4, 7)]

    @property
    def _period_s(self) -> float:
        return float(self.rng(2).choice([5, 6, 8, 7.3, 9.6, 11]))

    @property
    def _reach_s(self) -> float:
        return float(self.rng(3).uniform(5, 9))

    @property
    def _things(self) -> int:
        return int(self.rng(4).integers(2, 5))

    def _story(self, at_s: float) -> State:
        at_s = max(at_s, 0.0)
        step = int(at_s // STEP_S)
        share = (at_s - step * STEP_S) / STEP_S
        first, second = self._turn(step), self._turn(step + 1)
        state = (1 - share) * first + share * second
        state[:, 7] = first[:, 7]  # appears and disappears at once
        return state

    def _orbit(self, at_s: float) -> State:
        """Two seconds of rest, then one pose per second, each a fifth of a circle further; both ways are equal."""
        trip, pose = divmod(int(at_s), 6)
        angle = 2 * np.pi * max(0, pose - 1) / 5
        state, rng = self._turn(0), self.rng(100 + trip)
        state[:, :2], state[:, 3:6], state[:, 7] = (0.35, 0.28) + state[:, :2] / 4, 0.5, 1
        for first, second, radius in ((0, 1, 0.15), (3, 4, 0.25)):  # its place, its colour
            start = rng.uniform(-np.pi, np.pi, len(state))
            state[:, first] += radius * (np.cos(start + angle) - np.cos(start))
            state[:, second] += radius * (np.sin(start + angle) - np.sin(start))
        return state

    def _people(self, at_s: float) -> State:
        """People 14 % to 30 % as high as the frame. In a `cycle` each returns to its place and pose."""
        cycle, rng = self.kind == "cycle", self.rng(5)
        state = self._turn(0) if cycle else self._story(at_s)
        start = rng.uniform(-np.pi, np.pi, self._things)
        angle = start + 2 * np.pi * at_s / float(rng.choice([2, 2.5, 3, 3.5, 4] if cycle else [1.7]))
        state[:, 2], state[:, 3:6] = rng.uniform(0.04, 0.085, self._things), rng.uniform(0, 1, (self._things, 3))
        state[:, 0] = 0.15 + 0.7 * state[:, 0] + cycle * 0.12 * np.sin(angle)
        state[:, 1], state[:, 7] = 0.2 + 0.5 * state[:, 1] + cycle * 0.03 * np.cos(angle), 1
        state[:, 6] = 0.35 * np.abs(np.sin(angle))  # legs; the left and the right one look alike
        return state

    def _montage(self, at_s: float) -> State:
        """Shots of one to three seconds of scenes in turn, which all continue while they are not shown."""
        story, (_, scene) = self._story(at_s), self.shot(at_s)
        story[0, 7] = 1
        state = np.tile(story, (SCENES, 1))
        for number in range(SCENES):
            own = slice(number * len(story), (number + 1) * len(story))
            state[own, 0] = (story[:, 0], 1 - story[:, 0], (1 + 2 * story[:, 1]) / 3)[number]
            state[own, 7] *= number == scene
        return state

    def shot(self, time_s: float) -> tuple[int, int]:
        """The number of the shot at this time, from 0, and the number of its scene."""
        if self.kind != "montage":
            return 0, 0
        rng, number, scene, end_s = self.rng(6), -1, 0, 0.0
        while end_s <= time_s:
            number, scene = number + 1, (scene + int(rng.integers(1, SCENES))) % SCENES
            end_s += float(rng.integers(4, 13)) / FPS
        return number, scene

    def _turn(self, step: int) -> State:
        """The things at a turning point of the story."""
        rng, things = self.rng(100 + step), self._things
        state = np.empty((things, 8))
        state[:, 0], state[:, 1] = rng.uniform(0.05, 0.95, things), rng.uniform(0.05, 0.5, things)
        state[:, 2] = rng.uniform(0.06, 0.2, things)
        state[:, 3:6] = rng.uniform(0, 1, (things, 3))
        state[:, 6] = rng.uniform(-np.pi, np.pi, things)
        state[:, 7] = rng.random(things) < 0.8
        state[0, 7] = 1
        if step % 4 == 2:  # two of them meet, and separate in other colours
            state[1, :2] = state[0, :2] + [state[0, 2] + state[1, 2], 0]
        return state

    def paint(self, number: int, width: int, height: int) -> Picture:
        """Frame `number` of the film; `tests.clips.render` takes this."""
        state = self.at(number)
        image = _ground(self.seed, self.shot(number / FPS)[1]).copy()
        for kind, thing in enumerate(state):
            if thing[7] and self.kind in ("people", "cycle"):
                _draw_person(image, thing)
            elif thing[7]:
                _draw(image, (kind + self.seed) % 5, thing)
        noise = self.rng(1000 + number).normal(0, NOISE, (SIZE[1], SIZE[0], 1))
        noisy = np.clip(np.asarray(image) + noise, 0, 255).round().astype(np.uint8)
        return np.asarray(Image.fromarray(noisy).resize((width, height)))

    def write(self, folder: Path) -> Path:
        """Encode the film; returns its path."""
        options = {**SAME_BYTES, "preset": "veryfast"}
        frames = self.seconds * FPS
        return render(folder / self.name, frames=frames, fps=FPS, size=SIZE, paint=self.paint, options=options)


@lru_cache(maxsize=4096)
def _state(film: Film, frame: int) -> State:
    state = film.at(frame)
    state.setflags(write=False)
    return state


def points(state: State) -> npt.NDArray[np.float64]:
    """A state in units of visible differences: [things, 8]."""
    x, y, radius, *colour, turn, _ = state.T
    rim = np.stack([x, y, radius, radius * np.cos(turn), radius * np.sin(turn)]) / MOVED
    return np.concatenate([rim, np.stack(colour) / RECOLOURED]).T


def difference(first: State, second: State) -> npt.NDArray[np.float64]:
    """The difference of two states, [things, 8]: 0 where neither shows a thing, ABSENT where only one does."""
    shown, other = first[:, 7] > 0, second[:, 7] > 0
    between = (points(first) - points(second)) * (shown & other)[:, None]
    between[shown != other, 0] = ABSENT
    return between


def apart(first: State, second: State) -> float:
    """The largest difference; below 1 the two states are indistinguishable."""
    return float(np.abs(difference(first, second)).max())


def way(first: State, second: State) -> float:
    """The distance between two states: the norm of all differences."""
    return float(np.linalg.norm(difference(first, second)))


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The states of a puzzle of one film: visible ones nearest to the gap first, and the whole hidden span."""

    hidden: Sequence[State]
    before: Sequence[State]
    after: Sequence[State]
    span: Sequence[State]
    distractors: Sequence[State] = ()  # of this film; those of other films always differ

    @classmethod
    def of(
        cls, film: Film, hidden_s: Sequence[float], visible_s: Sequence[float], distractors_s: Sequence[float] = ()
    ) -> "Asked":
        """The puzzle with frames at these times of a film."""
        first, last = hidden_s[0], hidden_s[-1]
        return cls(
            hidden=[film.state(t) for t in hidden_s],
            before=[film.state(t) for t in sorted(visible_s, reverse=True) if t < first],
            after=[film.state(t) for t in sorted(visible_s) if t > last],
            span=[film.state(t) for t in np.arange(first, last, 1 / FPS)],
            distractors=[film.state(t) for t in distractors_s],
        )

    def ambiguities(self) -> set[str]:
        """The reasons why another answer would be right too; empty for a puzzle with one answer."""
        hidden, visible = self.hidden, [*self.before, *self.after]
        found = {
            "twin_hidden": any(apart(a, b) < 1 for i, a in enumerate(hidden) for b in hidden[:i]),
            "twin_distractor": any(apart(a, b) < 1 for a in hidden for b in self.distractors),
            "twin_context": any(apart(a, b) < 1 for a in hidden for b in visible),
            "fits_the_gap": any(apart(a, b) < 1 for a in self.span for b in self.distractors),
            "reversible": self._reversible(),
            "unordered": self._unordered(),
        }
        return {reason for reason, holds in found.items() if holds}

    def _reversible(self) -> bool:
        """Whether the hidden run fits the visible frames backwards as well.

        It does if no visible jump at either end is larger, and no visible motion continues worse.
        """
        first, last = self.hidden[0], self.hidden[-1]
        return all(
            way(side[0], far) <= way(side[0], near) + 1 and _continues(side, far) <= _continues(side, near) + 1
            for side, near, far in ((self.before, first, last), (self.after, last, first))
            if side
        )

    def _unordered(self) -> bool:
        """Whether the hidden frames, of several scenes, fit in another order that keeps that of each scene.

        It fits if it needs no more cuts, and things move no further between frames that follow each other.
        """
        hidden, places = list(self.hidden), tuple(range(len(self.hidden)))
        alike = [[same_scene(a, b) for a in hidden] for b in hidden]

        def cost(order: Sequence[int]) -> tuple[int, float]:
            states = [*self.before[:1], *(hidden[n] for n in order), *self.after[:1]]
            joins = [way(a, b) for a, b in pairwise(states) if same_scene(a, b)]
            return len(states) - len(joins), sum(joins)

        cuts, move = cost(places)
        others = (
            cost(order)
            for order in permutations(places)
            if order != places and all(a < b or not alike[a][b] for a, b in combinations(order, 2))
        )
        return any(other_cuts <= cuts and other_move <= move + 1 for other_cuts, other_move in others)


def same_scene(first: State, second: State) -> bool:
    """Whether two states show a common thing."""
    return bool((first[:, 7] * second[:, 7]).any())


def _continues(side: Sequence[State], state: State) -> float:
    """The distance of things from the extrapolated motion of two visible frames; 0 if these show no motion."""
    if len(side) < 2 or not 1 <= apart(side[0], side[1]) < CUT:
        return 0.0
    shown = np.prod([s[:, 7] > 0 for s in (side[0], side[1], state)], axis=0)
    return float(np.linalg.norm((points(state) - 2 * points(side[0]) + points(side[1])) * shown[:, None]))


@lru_cache(maxsize=4)
def _ground(seed: int, scene: int) -> Image.Image:
    """A texture of soft spots, the same in all frames of a scene."""
    rng = np.random.default_rng([seed, 99 + scene])
    cells = rng.integers(40, 216, (9, 16, 3), dtype=np.uint8)
    fine = rng.integers(0, 256, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    soft = Image.fromarray(cells).resize(SIZE, Image.Resampling.BICUBIC)
    return Image.blend(soft, Image.fromarray(fine).filter(ImageFilter.GaussianBlur(2)), 0.35)


def _draw_person(image: Image.Image, thing: npt.NDArray[np.float64]) -> None:
    """Draw a person twice as high as the thing's radius, around its place."""
    x, y, radius = (float(v) * SIZE[0] for v in thing[:3])
    shirt = 255 * thing[3:6]
    colours = np.stack([(255 + shirt) / 2, shirt, shirt[::-1] / 2]).astype(int)
    draw_person(image, x, y + radius, 2 * radius, float(thing[6]), colours)


def _draw(image: Image.Image, kind: int, thing: npt.NDArray[np.float64]) -> None:
    """Draw a disc, a box, a star, a ring or a bar, with a mark on its rim that shows its rotation."""
    draw, width = ImageDraw.Draw(image), SIZE[0]
    x, y, radius, turn = thing[0] * width, thing[1] * width, thing[2] * width, thing[6]
    red, green, blue = (int(255 * c) for c in thing[3:6])
    fill, dark = (red, green, blue), (red // 3, green // 3, blue // 3)

    def rim(count: int, *reach: float) -> list[tuple[float, float]]:
        angles = turn + np.arange(count) * 2 * np.pi / count
        far = radius * np.resize(reach, count)
        return [(x + r * np.cos(a), y + r * np.sin(a)) for r, a in zip(far, angles, strict=True)]

    box = (x - radius, y - radius, x + radius, y + radius)
    if kind == 0:
        draw.ellipse(box, fill=fill, outline=dark, width=3)
    elif kind == 3:
        draw.ellipse(box, outline=fill, width=max(3, int(radius / 3)))
    else:
        corners = {1: rim(4, 1.0), 2: rim(10, 1.0, 0.45), 4: rim(6, 1.0, 0.35, 0.35)}[kind]
        draw.polygon(corners, fill=fill, outline=dark)
    mark_x, mark_y = rim(1, 0.8)[0]
    draw.ellipse((mark_x - 5, mark_y - 5, mark_x + 5, mark_y + 5), fill=(255, 255, 255), outline=(0, 0, 0))
