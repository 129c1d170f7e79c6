"""A policy over operations: which option every layer of a chain takes, learnt by REINFORCE (Williams, 1992).

Layers are the nodes of a graph, neighbours in the chain are joined. A node's features are embeddings of its operation
and of its place; two graph convolutions mix neighbours' features, and a linear layer gives a logit an operation. The
softmax is over a layer's valid options alone, so that what is not valid has the probability 0 exactly.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

EMBEDDING, FEATURES, HIDDEN = 100, 1024, 100  # of the authors
RATE, BETAS, DECAY = 3e-3, (0.5, 0.999), 5e-4  # Adam's; the authors' rate is 3e-4, for many more updates
BASELINE, ENTROPY = 0.99, 0.003  # of the authors: how slowly the baseline moves, and the weight of the entropy
DRAWS = 4  # ours: whose rewards an update averages


class Policy(nn.Module):
    """kinds: of every layer, its valid operations, indices in [0, operations), the present one first."""

    def __init__(self, kinds: Sequence[Sequence[int]], operations: int):
        super().__init__()
        layers = len(kinds)
        self.kinds = [list(some) for some in kinds]
        self.operation, self.place = nn.Embedding(operations, EMBEDDING), nn.Embedding(layers, EMBEDDING)
        self.features = nn.Linear(2 * EMBEDDING, FEATURES)
        self.first, self.second = nn.Linear(FEATURES, HIDDEN), nn.Linear(HIDDEN, HIDDEN)
        self.logits = nn.Linear(HIDDEN, operations)
        joined = torch.eye(layers) + torch.diag(torch.ones(layers - 1), 1) + torch.diag(torch.ones(layers - 1), -1)
        degrees = joined.sum(1).rsqrt()
        self.register_buffer("adjacency", degrees[:, None] * joined * degrees)
        valid = torch.zeros(layers, operations, dtype=torch.bool)
        for layer, some in enumerate(kinds):
            valid[layer, list(some)] = True
        self.register_buffer("valid", valid)

    def forward(self) -> Tensor:
        """Probabilities, (layers, operations); 0 for what is not valid."""
        present = torch.tensor([some[0] for some in self.kinds])
        x = torch.cat([self.operation(present), self.place.weight], 1)
        x = torch.relu(self.features(x))
        x = torch.relu(self.adjacency @ self.first(x))
        x = torch.relu(self.adjacency @ self.second(x))
        return self.logits(x).masked_fill(~self.valid, -torch.inf).softmax(1)


def learn(
    kinds: Sequence[Sequence[int]],
    operations: int,
    gain: Callable[[Sequence[int], torch.Generator], float],
    generator: torch.Generator,
    updates: int,
) -> Policy:
    """The policy that earns much: gain(choice, generator) is the reward of a choice, an option's place of every layer.

    Each update is a step of Adam on - mean (reward - baseline) ln pi(choice) - ENTROPY H(pi).
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (), generator=generator)))
        policy = Policy(kinds, operations)
    optimiser = torch.optim.Adam(policy.parameters(), lr=RATE, betas=BETAS, weight_decay=DECAY)
    baseline = 0.0
    for _ in range(updates):
        probabilities = policy()
        logarithms = probabilities.clamp(min=torch.finfo(torch.float32).tiny).log()
        loss = ENTROPY * (probabilities * logarithms).sum()
        for _ in range(DRAWS):
            choice = draw(policy, generator, probabilities)
            taken = torch.tensor([some[option] for some, option in zip(policy.kinds, choice, strict=True)])
            reward = gain(choice, generator)
            loss = loss - (reward - baseline) * logarithms[torch.arange(len(taken)), taken].sum() / DRAWS
            baseline = BASELINE * baseline + (1 - BASELINE) * reward
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return policy


@torch.no_grad()
def draw(policy: Policy, generator: torch.Generator, probabilities: Tensor | None = None) -> list[int]:
    """A choice: of every layer the place of an option among its valid ones."""
    probabilities = policy() if probabilities is None else probabilities
    taken = torch.multinomial(probabilities, 1, generator=generator).flatten().tolist()
    return [some.index(operation) for some, operation in zip(policy.kinds, taken, strict=True)]
