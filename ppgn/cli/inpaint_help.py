"""What `ppgn inpaint --help` prints."""

from __future__ import annotations

from ppgn import paths


def inpaint() -> str:
    """The help of `ppgn inpaint`."""
    return f"""\
usage: ppgn inpaint image=FILE|FOLDER [mask=...] [target=NAME] [key=value ...]

Fills a hole in a photo with what the prior and, if there is a target, a condition network want to see there. Pixels
outside the hole stay exactly as they are. The generator draws a square twice as wide as the hole, around it, at its own
resolution; what it draws in the hole is enlarged and blended into the photo without a seam (Poisson).

what to fill
  image=FILE             a photo of any size up to 64 megapixels, or a folder of photos; required
  mask=center            the hole: center (a rectangle of half the width and height); random (a square, 100/227 of the
                         shorter side, somewhere; random-1, random-2 are other places); alpha (what is not opaque);
                         a picture of the photo's size in which white is the hole; or a folder of these, named as the
                         photos are

with what
  target=null            what the condition network is asked for; null leaves it to what surrounds the hole
  condition=imagenet     the network that is asked ({", ".join(paths.options("condition"))})
  context.weight=1.0     how much the generator's picture must agree with the known pixels, against log p(target);
                         with ppgn, mala and dgn_am 10
  context.likelihood=gaussian
                         of a known pixel, or laplace
  context.std=0.1        its standard deviation, of pixels in [0, 1]
  context.imputations=32 draws put into the hole to find out what the rest of the picture says of its code, which the
                         prior of sampler=annealed is then told; 0: not

how the chains walk
  seeds=0-3              a completion for each: 0-15, [1,4,9], 3 or 0-3,8,10-12
  model=natural64        the generator: a name that `ppgn models` lists or a path to a .safetensors file
  prior=null             what keeps the picture natural (mixture, joint, dae, gaussian); null is what suits the sampler
  sampler=annealed       the kernel and its settings ({", ".join(paths.options("sampler"))}).
                         released is the published inpainting, its 20 steps and its own weight of the context included;
                         for whitened codes, as those of natural64, add sampler.clip=null. annealed takes 30 steps from
                         sampler.sigma_max=2.5 with sampler.epsilon2=2.5, or 0.5 without a target
  steps=null             steps of a chain; null is the sampler's own number
  keep=1.0               chains start at keep * E(photo, hole filled) + sqrt(1 - keep^2) * noise; less: more varied.
                         sampler=annealed puts noise of its own on that; with ppgn 0.5
  fill=harmonic          what the encoder sees in the hole at the start: harmonic (smooth), or mean (one colour)

on which machine
  batch_size=8           chains walked together
  device=auto            cpu, cuda or cuda:N; auto is the GPU if there is one

what comes out
  out=null               a folder; null is outputs/inpaint-NAME

The folder holds PHOTO-seed-K-completed.png for every seed, grid.png (a row per photo: original, with its hole,
completions, best first), report.json (their rank by log_context + log_prob, and what the condition says of them) and
config.yaml. They are written after each photo. The exit status is 1 if every chain failed.

examples
  ppgn inpaint image=photo.jpg
  ppgn inpaint image=photo.jpg mask=scratches.png target=volcano seeds=0-7
  ppgn inpaint image=cutout.png mask=alpha
  ppgn inpaint image=photos mask=random target=castle sampler=released sampler.clip=null"""
