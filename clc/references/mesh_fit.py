"""The mesh of offsets that corrects a homography: dense optical flow, fitted to nodes. Encoder only.

`clc.references.registration` calls `fit_mesh`. It may use floats and OpenCV, because the result is rounded and sent.
Optical flow (DIS, Kroeger et al. 2016) between the target and the warped reference gives a displacement d for each
pixel. The offsets m of the nodes minimise

    sum over pixels w (B m - d)' S (B m - d)  +  stiffness |grad m|^2

with B the bilinear interpolation between nodes, S the structure tensor, and w near 0 where the flow does not explain
the target. (B m - d)' S (B m - d) is the squared difference of grey levels that a displacement causes, to first order,
so that an edge counts only across. Rounding to quarter px trades the same error against the bits that
`clc.bitstream.mesh_coder` will spend: for most nodes a neighbour's offset is as good and nearly free (a quarter fewer
bytes for the same PSNR).
"""

import math
from typing import Any, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt
import scipy.sparse
import scipy.sparse.linalg

from clc.bitstream.alignment import MESH_PX, mesh_shape
from clc.bitstream.mesh_coder import Mesh, predict

FloatArray = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]

ROUNDS = 2
"""Times that the flow is found anew, each time from the offsets found before."""

MAX_PIXELS = 2_000_000
"""Pixels of a target above which both pictures are halved."""

SIGMA_LEVELS = 12.0
"""Error of the flow, in grey levels, at which a pixel's weight w is one half."""

STIFFNESS = 100.0
"""Weight of the smoothness of the mesh: squared grey levels for a squared px between neighbouring nodes."""

FLOOR = 1.0
"""Added to the structure tensor, levels^2 per px^2: flat regions follow the flow a little."""

ERROR_PER_BIT = 100.0
"""Squared grey levels, summed over pixels, that one bit of the mesh must save."""

_QUARTERS = 4  # units of an offset in a px
_LIMIT_PX = 31.75  # largest offset that int8 holds


class View(NamedTuple):
    """A target and a reference in grey, float32 (H, W), and the projective map (3, 3) from target to reference."""

    target: FloatArray
    reference: FloatArray
    matrix: Float64Array


def fit_mesh(target_HW3: npt.NDArray[np.uint8], reference_HW3: npt.NDArray[np.uint8], matrix: Float64Array) -> Mesh:
    """The mesh of an alignment, int8 (rows, columns, 2) in quarter px, to be added to the projective map `matrix`.

    Pictures are uint8 (H, W, 3). `matrix` (3, 3) maps positions in the target, in px from its edge, to the reference.
    Pictures over `MAX_PIXELS` are halved until they are smaller.
    """
    shrink = 1
    while shrink < 16 and target_HW3.shape[0] * target_HW3.shape[1] > MAX_PIXELS * shrink**2:
        shrink *= 2
    scale = np.diag([shrink, shrink, 1.0])
    view = View(_grey(target_HW3, shrink), _grey(reference_HW3, shrink), np.linalg.inv(scale) @ matrix @ scale)
    grid = Grid(view.target.shape, MESH_PX // shrink)
    sampler = Sampler(view)
    nodes = np.zeros((*grid.shape, 2))
    for _ in range(ROUNDS):
        tensor, right_side = _flow_terms(view, sampler, *grid.interpolate(nodes))
        system = [grid.normal_matrix(weights) for weights in tensor]
        limit = _LIMIT_PX / shrink
        nodes = np.clip(nodes + grid.solve(system, right_side, nodes), -limit, limit)
    return _round(nodes * shrink * _QUARTERS, [matrix / _QUARTERS**2 for matrix in system], grid.shape[1])


class Grid:
    """The nodes every `px` px over a target of `size` (height, width), and their bilinear interpolation B to pixels."""

    def __init__(self, size: tuple[int, ...], px: int) -> None:
        self._size, self._px = size, px
        self.shape = mesh_shape(size[0], size[1], px)
        self._n = self.shape[0] * self.shape[1]
        self._down, self._across = (_hats(length, px) for length in size)
        rows, columns = self.shape
        corner = (np.arange(rows - 1)[:, None] * columns + np.arange(columns - 1)).ravel()
        self._corners = corner[:, None] + np.array([0, 1, columns, columns + 1])
        inner = (np.arange(px) + 0.5) / px
        hats = np.stack([1 - inner, inner])
        self._inner = np.einsum("ay,bx->yxab", hats, hats).reshape(px * px, 4).astype(np.float32)
        self._inner_pairs = (self._inner[:, :, None] * self._inner[:, None, :]).reshape(px * px, 16)

    def interpolate(self, nodes: Float64Array) -> tuple[FloatArray, FloatArray]:
        """B m: values at the nodes (rows, columns, 2) -> x and y at the pixels' centres, float32 (H, W) each."""
        x, y = (self._down @ nodes[:, :, axis].astype(np.float32) @ self._across.T for axis in (0, 1))
        return x, y

    def normal_matrix(self, weights: FloatArray) -> scipy.sparse.csr_matrix:
        """B' diag(weights) B of weights (H, W): symmetric, and a node is coupled with its eight neighbours."""
        entries = self._cells(weights) @ self._inner_pairs
        rows, columns = np.repeat(self._corners, 4, axis=1), np.tile(self._corners, (1, 4))
        return scipy.sparse.csr_matrix((entries.ravel(), (rows.ravel(), columns.ravel())), shape=(self._n, self._n))

    def solve(
        self, system: list[scipy.sparse.csr_matrix], right_side: tuple[FloatArray, FloatArray], nodes: Float64Array
    ) -> Float64Array:
        """The step from `nodes` (rows, columns, 2) to the minimum of the module's sum, by conjugate gradients.

        `system` is B' S B (xx, xy, yy), `right_side` S d (x, y) at the pixels.
        """
        xx, xy, yy = system
        membrane = STIFFNESS * _membrane(*self.shape) + scipy.sparse.identity(self._n) * 1e-3
        whole = scipy.sparse.bmat([[xx + membrane, xy], [xy, yy + membrane]], format="csr")
        sums = [self._cells(values) @ self._inner for values in right_side]
        goal = [np.bincount(self._corners.ravel(), weights=s.ravel(), minlength=self._n) for s in sums]
        goal = [g - membrane @ nodes[:, :, axis].ravel() for axis, g in enumerate(goal)]
        jacobi = scipy.sparse.diags(1.0 / whole.diagonal())
        step, _ = scipy.sparse.linalg.cg(whole, np.concatenate(goal), rtol=1e-3, maxiter=100, M=jacobi)
        found: Float64Array = step.reshape(2, *self.shape).transpose(1, 2, 0)
        return found

    def _cells(self, values: FloatArray) -> FloatArray:
        """Values (H, W) by cell of the grid, (cells, px * px), zeros beyond the edges."""
        rows, columns, px = self.shape[0] - 1, self.shape[1] - 1, self._px
        padded = np.zeros((rows * px, columns * px), dtype=np.float32)
        padded[: self._size[0], : self._size[1]] = values
        return padded.reshape(rows, px, columns, px).transpose(0, 2, 1, 3).reshape(rows * columns, px * px)


class Sampler:
    """Warps a view's reference by its projective map plus an offset for each pixel, in floats."""

    def __init__(self, view: View) -> None:
        height, width = view.target.shape
        x, y = np.arange(width) + 0.5, (np.arange(height) + 0.5)[:, None]
        m = view.matrix
        w = m[2, 0] * x + m[2, 1] * y + m[2, 2]
        reference_x, reference_y = ((m[i, 0] * x + m[i, 1] * y + m[i, 2]) / w for i in (0, 1))
        self._x, self._y = reference_x.astype(np.float32), reference_y.astype(np.float32)
        self._reference = view.reference
        self.jacobian = [
            [((m[i, j] - at * m[2, j]) / w).astype(np.float32) for j in (0, 1)]
            for i, at in enumerate((reference_x, reference_y))
        ]
        """Derivatives of x and y in the reference (rows) by x and y in the target (columns), float32 (H, W) each."""

    def warp(self, offset_x: FloatArray, offset_y: FloatArray) -> tuple[FloatArray, Mask]:
        """The reference's grey levels at the target's pixels, float32 (H, W), and which of them it covers.

        Offsets are float32 (H, W), in px of the reference.
        """
        x, y = self._x + offset_x - 0.5, self._y + offset_y - 0.5
        height, width = self._reference.shape
        inside = (x > 0) & (x < width - 1) & (y > 0) & (y < height - 1)
        warped = cv2.remap(self._reference, x, y, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
        return warped.astype(np.float32), inside


def _flow_terms(
    view: View, sampler: Sampler, offset_x: FloatArray, offset_y: FloatArray
) -> tuple[tuple[FloatArray, ...], tuple[FloatArray, FloatArray]]:
    """w S (xx, xy, yy) and w S d (x, y), d the flow beyond the offsets, in px of the reference: (H, W) each."""
    warped, inside = sampler.warp(offset_x, offset_y)
    warped = _like(view.target, warped, inside)
    flow = _dense_flow(view.target, warped, inside)
    weights = _confidence(view.target, warped, flow) * inside
    (xu, xv), (yu, yv) = sampler.jacobian
    d_x, d_y = xu * flow[..., 0] + xv * flow[..., 1], yu * flow[..., 0] + yv * flow[..., 1]
    slope_u, slope_v = (cv2.Sobel(view.target, -1, *order, scale=1 / 8) for order in ((1, 0), (0, 1)))
    area = np.maximum(xu * yv - xv * yu, 1e-3)
    slope_x, slope_y = (slope_u * yv - slope_v * yu) / area, (slope_v * xu - slope_u * xv) / area
    s_xx, s_xy, s_yy = (
        weights * (cv2.boxFilter(product, -1, (5, 5)) + floor)
        for product, floor in ((slope_x**2, FLOOR), (slope_x * slope_y, 0.0), (slope_y**2, FLOOR))
    )
    return (s_xx, s_xy, s_yy), (s_xx * d_x + s_xy * d_y, s_xy * d_x + s_yy * d_y)


def _dense_flow(target: FloatArray, warped: FloatArray, inside: Mask) -> FloatArray:
    """Optical flow (H, W, 2) in px with target(p) = warped(p + flow); 0 where the target is too small for DIS."""
    if min(target.shape) < 32:
        return np.zeros((*target.shape, 2), dtype=np.float32)
    dis: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    filled = np.where(inside, warped, target)
    flow: FloatArray = dis.calc(*(np.clip(np.rint(p), 0, 255).astype(np.uint8) for p in (target, filled)), None)
    return flow


def _confidence(target: FloatArray, warped: FloatArray, flow: FloatArray) -> FloatArray:
    """The weights w (H, W): near 1 where the flow explains the target, 0 where it increases the error."""
    height, width = target.shape
    x, y = (
        np.arange(width, dtype=np.float32) + flow[..., 0],
        np.arange(height, dtype=np.float32)[:, None] + flow[..., 1],
    )
    moved = cv2.remap(warped, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    after, before = (cv2.boxFilter(np.abs(target - picture), -1, (7, 7)) for picture in (moved, warped))
    weights: FloatArray = (after <= before) / (1 + np.square(after / SIGMA_LEVELS))
    return weights


def _like(target: FloatArray, warped: FloatArray, inside: Mask) -> FloatArray:
    """`warped` with a gain (0.5 to 2) and an offset that fit it to the target where inside, by least squares."""
    if not inside.any():
        return warped
    theirs, ours = warped[inside], target[inside]
    deviations = theirs - theirs.mean()
    gain = float((deviations * (ours - ours.mean())).mean() / max(float(np.square(deviations).mean()), 1.0))
    matched: FloatArray = (warped - theirs.mean()) * min(max(gain, 0.5), 2.0) + ours.mean()
    return matched


def _round(nodes_q2: Float64Array, system: list[scipy.sparse.csr_matrix], columns: int) -> Mesh:
    """The mesh, int8 in quarter px, from unrounded offsets: node by node the least error + `ERROR_PER_BIT` * bits.

    The error of deviations e from `nodes_q2` is e' A e, with A from `system` (xx, xy, yy) in quarters of px.
    """
    rows = nodes_q2.shape[0]
    steps_back = (0, 1, columns - 1, columns, columns + 1)  # the node itself, west, north-east, north, north-west
    couplings = [[np.pad(a.diagonal(-k), (k, 0)).tolist() for a in system] for k in steps_back]
    wanted = nodes_q2.reshape(-1, 2).tolist()
    errors: list[tuple[float, float]] = []
    mesh = np.zeros(nodes_q2.shape, dtype=np.int64)
    values = mesh.tolist()
    for i in range(rows * columns):
        row, column = divmod(i, columns)
        pull_x = pull_y = 0.0
        for k, (xx, xy, yy) in zip(steps_back[1:], couplings[1:], strict=True):
            if k <= i:
                e_x, e_y = errors[i - k]
                pull_x += xx[i] * e_x + xy[i] * e_y
                pull_y += xy[i] * e_x + yy[i] * e_y
        a_xx, a_xy, a_yy = (a[i] for a in couplings[0])
        expected = predict(values, row, column)
        best = (math.inf, 0, 0)
        for x in _candidates(wanted[i][0], expected[0]):
            for y in _candidates(wanted[i][1], expected[1]):
                e_x, e_y = x - wanted[i][0], y - wanted[i][1]
                cost = e_x * (a_xx * e_x + 2 * (a_xy * e_y + pull_x)) + e_y * (a_yy * e_y + 2 * pull_y)
                cost += ERROR_PER_BIT * (_bits(x - expected[0]) + _bits(y - expected[1]))
                best = min(best, (cost, x, y))
        values[row][column] = list(best[1:])
        errors.append((best[1] - wanted[i][0], best[2] - wanted[i][1]))
    return np.array(values, dtype=np.int8)


def _candidates(wanted: float, expected: int) -> set[int]:
    """The offsets next to the one wanted, the predicted one, and the one beside it."""
    low = math.floor(wanted)
    step = 1 if wanted > expected else -1
    return {min(max(value, -128), 127) for value in (low, low + 1, expected, expected + step)}


def _bits(difference: int) -> float:
    """About the bits that `clc.bitstream.mesh_coder` spends on a difference from the prediction, in quarter px."""
    return 0.6 if difference == 0 else 2.4 + 2.0 * math.log2(abs(difference))


def _grey(picture_HW3: npt.NDArray[np.uint8], shrink: int) -> FloatArray:
    """Luminance, float32 (H, W) of 0..255, with sides divided by `shrink` and rounded up."""
    grey = cv2.cvtColor(picture_HW3, cv2.COLOR_RGB2GRAY)
    if shrink > 1:
        height, width = grey.shape
        grey = cv2.copyMakeBorder(grey, 0, -height % shrink, 0, -width % shrink, cv2.BORDER_REPLICATE)
        grey = cv2.resize(grey, None, fx=1 / shrink, fy=1 / shrink, interpolation=cv2.INTER_AREA)
    return grey.astype(np.float32)


def _hats(length: int, px: int) -> FloatArray:
    """Bilinear weights of the nodes (n,) at the pixels' centres (length,): float32 (length, n)."""
    at = (np.arange(length) + 0.5) / px
    nodes = np.arange(-(-length // px) + 1)
    return np.maximum(0.0, 1.0 - np.abs(at[:, None] - nodes)).astype(np.float32)


def _membrane(rows: int, columns: int) -> scipy.sparse.csr_matrix:
    """The Laplacian of a grid of nodes: m' L m is the sum of the squared differences of neighbours."""
    along = [scipy.sparse.diags([-np.ones(n), np.ones(n - 1)], [0, 1], shape=(n - 1, n)) for n in (rows, columns)]
    down, across = (steps.T @ steps for steps in along)
    total = scipy.sparse.kron(down, scipy.sparse.identity(columns)) + scipy.sparse.kron(
        scipy.sparse.identity(rows), across
    )
    return total.tocsr()
