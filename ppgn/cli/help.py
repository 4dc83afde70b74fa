"""What `--help` prints. Nothing here imports torch or Hydra, so that help comes at once."""

from __future__ import annotations

from collections.abc import Callable

from ppgn import paths
from ppgn.cli.inpaint_help import inpaint


def overview() -> str:
    """The help of `ppgn` itself."""
    return """\
ppgn: draw what a network wants to see, with a Plug & Play Generative Network

usage: ppgn COMMAND [key=value ...]

commands
  sample      draw images that a condition network recognises as a target
  inpaint     fill a hole in a photo
  facets      draw the unlike kinds of pictures that one target covers
  evaluate    measure how good samples or reconstructions are
  models      list the generators and the condition networks there are
  units       list the layers of a network and their units, which condition=unit takes

  ppgn COMMAND --help     the keys of a command, with examples
  ppgn COMMAND --multirun key=a,b ...
                          a run for every combination of values; hydra/launcher=NAME says where (Hydra's plugins)
  ppgn --version

PPGN_DEBUG=1 shows the full traceback of an error."""


def sample() -> str:
    """The help of `ppgn sample`."""
    return f"""\
usage: ppgn sample target=NAME [key=value ...]

Draws images x = G(h) by a Markov chain over codes h that follows p(h) p(target | x). Every seed is a chain of its own,
and the same seed gives the same image in any batch.

what to draw
  condition=imagenet     the network that judges ({", ".join(paths.options("condition"))})
  target=goldfish        what to ask of it, by name or by index; required.
                         Several targets make one chain through all of them: target=[volcano,lakeside,castle]
  condition="imagenet:castle & 0.5*places:snowfield"
                         several questions at once, each NAME:TARGET: a & b both, a | b either, ~a anything but it,
                         0.5*a weighed, ( ) groups; a target with such signs stands in quotes. NAME alone asks for
                         target=. Settings of a member: condition.places.network.weights=FILE

where the chains start
  seeds=0-7              the chains: 0-15, [1,4,9], 3 or 0-3,8,10-12; a seed given twice is refused
  init=null              start from an image file instead of from noise
  strength=null          how far to leave that image, above 0 to 1: the share of the steps that is walked. It is the
                         last share, so step length or noise level start as low as they are by then; 0.3 stays near,
                         null is 0.6, and 1 with sampler=annealed forgets it

how they walk
  model=natural64        the generator: a name that `ppgn models` lists or a path to a .safetensors file
  prior=null             what keeps the images natural (mixture, joint, dae, gaussian); null is what suits the sampler
  sampler=annealed       the kernel and its settings ({", ".join(paths.options("sampler"))})
  experiment=null        these three at once, as a member of the PPGN family has them (annealed, dgn_am,
                         dgn_am_released, joint, noiseless_joint, ppgn_h, ppgn_x)
  steps=null             steps for each target; null is the sampler's own number
  burn_in=0              steps to walk before anything is kept
  thin=null              keep the state every so many steps; null keeps the last one of each target
  threshold=null         of what is kept, keep the images alone whose p(target) exceeds this number, as 0.98

on which machine
  batch_size=auto        chains walked together; auto is 8, on a GPU 256. What does not fit its memory is halved
  device=auto            cpu, cuda or cuda:N; auto is the GPU if there is one
  devices=1              how many of them; each has a process of its own, started here, by torchrun or by SLURM
  num_nodes=1            machines with so many devices each
  precision=float32      float64 for exactness; bfloat16 for speed on a GPU
  compile=false          true puts the networks, on a CPU the generator alone, through torch.compile: half a minute or
                         more before the first step, faster steps. They round differently, and a chain amplifies that:
                         a seed gives another picture. Needs a C++ compiler

what comes out
  out=null               a folder; null is outputs/CONDITION-TARGET. A new run replaces what an old one left there
  labels=false           true writes p and the class asked for under each image of grid.png
  animate=null           a name that ends in .webp, .gif or .png: the chains of all seeds as they walk, in `out`
  animate_every=1        steps from one frame to the next
  resume=false           true continues an interrupted run in `out`, and adds seeds to a finished one

Any deeper setting goes by its dotted name, as in config.yaml: sampler.NAME=VALUE, condition.network.name=VALUE.

The folder holds grid.png (one row per seed where a chain has several targets), samples.safetensors (images uint8,
codes, log_prob, seeds), report.json (the probability and the five best labels of every image) and config.yaml. They are
written after each batch, so Ctrl-C keeps what is finished. The exit status is 1 if every seed failed.

examples
  ppgn sample target=goldfish
  ppgn sample target=volcano seeds=0-15 steps=400 out=volcanoes
  ppgn sample target=[volcano,lakeside,castle] seeds=0-3
  ppgn sample target=junco init=photo.jpg strength=0.5
  ppgn sample condition=places condition.network.weights=resnet18_places365.pth.tar target=beach
  ppgn sample condition="imagenet:castle & ~places:beach" labels=true animate=chain.webp
  ppgn sample condition=unit condition.layer=blocks.4.2 target=17
  ppgn sample condition=torchscript condition.path=my_classifier.ts target=3

hidden units as published with PPGN: restarts with a random weight of the prior, images kept where p exceeds 0.98
  ppgn sample condition=unit condition.layer=blocks.4.2 target=17 steps=1000 thin=10 threshold=0.98
with sampler.reset_every=100 sampler.lr_end=1, or, for codes of fc6, sampler=released sampler.reset_every=100"""


def evaluate() -> str:
    """The help of `ppgn evaluate`."""
    return f"""\
usage: ppgn evaluate what=NAME data=FOLDER [key=value ...]

Measures how good a model's pictures are, all reduced to 64 px, and prints a table. Intervals are 95 % bootstrap ones:
over classes for samples and variants, over pictures for the others. They ask networks that took no part in drawing:
EfficientNet-Lite2 at 160 px among 1000 classes (top-1, top-5), its features at 128 px (distances, diversity).

what to measure
  what=reconstruction    photographs drawn again from their codes, G(E(x)), beside the same photographs blurred:
                         Fréchet distance to the originals and KID to other photographs, PSNR in dB, cosine similarity
                         of the code of what was drawn to its own
  what=samples           samples of every class from every seed, below photos of these classes if data has labels
                         (val_labels.npy, classes.json): p, the condition's probability of the class; top-1 and top-5;
                         KID to photographs; mean cosine distance within and between classes; seconds per sample
  what=variants          the PPGN family, each as its experiment sets it: top-1 and top-5; KID and Fréchet distance to
                         photographs, density and coverage around them; cosine distance within classes, and from a
                         sample to the next of its chain, as many steps on (mixing); seconds per sample
  what=inpainting        holes (center, random) filled by chains from the first seed, with and without the photo's
                         class, with class and pixels but without imputations, with the class alone, by the published
                         procedure and by classical means: PSNR in the hole, feature distance to the original, KID to
                         other photographs, top-1, top-5, seconds; n is 100; pip install 'ppgn[inpaint]'
  what=places            samples of 20 scenes, two seeds each: the condition's log p; top-1 of a linear probe on
                         features, fitted to n=3000 photographs of them. data is a folder like MiniPlaces:
                         {{train,val}}_images.npy, {{train,val}}_labels.npy, classes.json; pip install 'ppgn[facets]'
  what=captions          samples of count=30 sentences: the condition's log p; the median rank of the sentence among
                         n=100 by log p(sentence | x) − log p(sentence) of judge=FILE, a captioner of another seed and
                         network, and the share of ranks up to 10. data is a folder like Flickr8k: val_images.npy,
                         val_captions.jsonl
  what=units             samples of count=50 random units of layers=[blocks.2,blocks.4,blocks.6]: log p; the share whose
                         activation exceeds the 99th percentile of n photographs; how many standard deviations it is
                         above their mean. Beside them gradient ascent on pixels
                         All three stand beside the start codes as they are and photographs
  data=FOLDER            photographs: val_images.npy, uint8 (N, S, S, 3), in it or below, or else picture files;
                         required
  n=2000                 how many of them, spread evenly; what=reconstruction takes as many others to compare with
  model=natural64        a name that `ppgn models` lists or a path to a .safetensors file

how samples are drawn
  condition=imagenet     the network that is asked for the classes ({", ".join(paths.options("condition"))})
  classes=[...]          names or indices; by default 40 varied classes of ImageNet
  seeds=0-7              the chains of each class; what=places, captions and units go on counting from target to target
  systems=[default,white_noise,dgn_am,pixels]
                         what is compared: prior and sampler as given here; the start codes N(0, I) as they are; the
                         sampler ppgn with the condition alone (epsilon1=0, epsilon3=0); gradient ascent on pixels
  experiment=[ppgn_x,dgn_am,dgn_am_released,ppgn_h,joint,noiseless_joint,annealed]
                         of what=variants. What is not trained yet is skipped, with the command that trains it.
                         Elsewhere one name: a preset of model, prior and sampler
  models.NAME=null       the model of the experiment NAME alone, as models.ppgn_x=runs/prior/pixels.safetensors
  prior=null             what keeps the images natural (mixture, joint, dae, gaussian); null is what suits the sampler
  sampler=annealed       the kernel and its settings ({", ".join(paths.options("sampler"))})
  steps=null             steps for each sample; null is the sampler's own number
  context.epsilon2=0.5   of what=inpainting with sampler=annealed, where there is no class; context.weight, .std,
                         .likelihood and .imputations are those of ppgn inpaint

on which machine
  batch_size=8           pictures or chains at a time
  device=auto            cpu, cuda or cuda:N; auto is the GPU if there is one

what comes out
  out=null               a folder; null is outputs/evaluate-WHAT

The folder holds evaluation.json (every figure with its interval, the settings and versions) and grid.png (originals
over reconstructions), grid_NAME.png (a row per class) or grid_HOLE.png (a row per photo). They are written after each
row of the table.

examples
  ppgn evaluate what=reconstruction data=tiny-imagenet-64
  ppgn evaluate what=samples data=tiny-imagenet-64 seeds=0-3
  ppgn evaluate what=samples data=photos classes=[goldfish,pizza] systems=[default,dgn_am] sampler.epsilon2=0.05
  ppgn evaluate what=variants data=tiny-imagenet-64 experiment=[noiseless_joint,annealed]
  ppgn evaluate what=places data=miniplaces-64 condition.network.weights=resnet18_places365.pth.tar
  ppgn evaluate what=captions data=flickr8k-128 judge=runs/judge/captioner.safetensors
  ppgn evaluate what=units data=tiny-imagenet-64"""


def models() -> str:
    """The help of `ppgn models`."""
    return """\
usage: ppgn models

Lists the generators that `model=` takes, with the shape of their codes and images, and the networks that
`condition=` takes."""


def facets() -> str:
    """The help of `ppgn facets`."""
    return f"""\
usage: ppgn facets target=NAME images=FOLDER [key=value ...]

Draws the unlike kinds of pictures that one target covers (Multifaceted Feature Visualization). The pictures' features
in the condition's network are grouped: PCA to 50 dimensions, t-SNE to 2, k-means. The chains of a group start from the
mean code of the pictures nearest its centre. Needs scikit-learn: pip install 'ppgn[facets]'.

what to look at
  target=teapot          what to ask of the condition, by name or by index; required
  images=FOLDER          pictures of it, at least two for each facet; required
  condition=imagenet     the network that is asked ({", ".join(paths.options("condition"))})
  k=10                   how many facets
  nearest=15             pictures of a facet that make up its mean code
  layer=null             the features' layer, averaged over positions; null is the last one before the outputs

how the chains walk
  seeds=0-3              the chains of each facet
  model=natural64        a name that `ppgn models` lists or a path to a .safetensors file
  prior=joint            what keeps the images natural (gaussian, joint)
  sampler=ppgn           the kernel and its settings ({", ".join(paths.options("sampler"))})
  steps=null             steps for each sample; null is the sampler's own number

on which machine
  batch_size=8           pictures or chains at a time
  device=auto            cpu, cuda or cuda:N; auto is the GPU if there is one

what comes out
  out=null               a folder; null is outputs/facets-CONDITION-TARGET

The folder holds grid.png (a row per facet, the largest first: its pictures, then its samples), facets.json (files,
probabilities), samples.safetensors and config.yaml.

example
  ppgn facets target=teapot images=teapots k=5 seeds=0-3"""


def units() -> str:
    """The help of `ppgn units`."""
    return """\
usage: ppgn units [key=value ...]

Lists the layers of a network, in the order they run, with the number of their units and, for convolutional layers, the
positions (rows x columns) at which each unit is computed: what `condition=unit` takes as condition.layer, target and
condition.position. No weights are loaded.

  network=efficientnet_lite1   as condition.network.name: efficientnet_lite0..2, timm/NAME, torchvision/NAME
  layer=null                   a layer to list with everything inside it; null lists the outer ones

examples
  ppgn units
  ppgn units network=torchvision/resnet18 layer=layer4
  ppgn sample condition=unit condition.layer=blocks.4.2 target=17"""


VERBS: dict[str, Callable[[], str]] = {
    "sample": sample,
    "inpaint": inpaint,
    "facets": facets,
    "evaluate": evaluate,
    "models": models,
    "units": units,
}
