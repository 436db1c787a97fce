/* The sample photographs: see photographs.h.
 *
 * Chosen by looking at each stamp: a photograph, not a drawing or a painting, that clearly shows
 * one of CIFAR-10's ten classes as that data set means them. So there are no lions (a cat there is
 * a domestic cat), no donkeys or zebras, no pick-up trucks (neither automobile nor truck there),
 * and no ship, since the stamps' ships are all drawn. Most are birds; the order mixes them with the
 * rest. */
#include "cmd/photographs.h"

const struct source_listed photographs[] = {
    {"animals/mammals/deer/doe.png", "deer"},
    {"animals/birds/blackbird.png", "bird"},
    {"animals/birds/quetzal.png", "bird"},
    {"vehicles/emergency/firetruck.png", "truck"},
    {"animals/birds/lark.png", "bird"},
    {"animals/birds/magpie.png", "bird"},
    {"vehicles/auto/beetle.png", "automobile"},
    {"animals/birds/adelaide-rosella.png", "bird"},
    {"animals/birds/cuckoo.png", "bird"},
    {"animals/amphibians/frog.png", "frog"},
    {"animals/birds/heron_greatblue_flying.png", "bird"},
    {"animals/birds/seagull.png", "bird"},
    {"vehicles/auto/sedan.png", "automobile"},
    {"animals/birds/duck.png", "bird"},
    {"animals/birds/ostrich.png", "bird"},
    {"animals/mammals/deer/caribou.png", "deer"},
    {"animals/birds/crowned_crane.png", "bird"},
    {"animals/birds/albino_peahen.png", "bird"},
    {"vehicles/garbagetruck.png", "truck"},
    {"animals/birds/little-penguin.png", "bird"},
    {"animals/birds/pigeon.png", "bird"},
    {"vehicles/flight/planes/747.png", "airplane"},
    {"animals/birds/guineafowl.png", "bird"},
    {"animals/birds/turkey.png", "bird"},
    {"vehicles/auto/sportscar2.png", "automobile"},
    {"animals/birds/drake.png", "bird"},
    {"animals/birds/helmeted_guineafowl.png", "bird"},
    {"animals/mammals/deer/deer.png", "deer"},
    {"animals/birds/rainbow-lorikeet.png", "bird"},
    {"animals/birds/silver-gull.png", "bird"},
    {"military/vehicles/f22_raptor.png", "airplane"},
    {"animals/birds/magellanic_penguin.png", "bird"},
    {"animals/birds/gander.png", "bird"},
    {"animals/amphibians/frog-1.png", "frog"},
    {"animals/birds/peacock.png", "bird"},
    {"animals/birds/heron_greatblue.png", "bird"},
    {"animals/mammals/dogs/dingo.png", "dog"},
    {"animals/birds/nandou.png", "bird"},
    {"animals/birds/crow.png", "bird"},
    {"animals/mammals/equines/horse.png", "horse"},
    {"animals/birds/penguin.png", "bird"},
    {"animals/birds/rooster.png", "bird"},
    {"animals/mammals/deer/wapiti.png", "deer"},
    {"animals/birds/hen.png", "bird"},
    {"animals/birds/chicken_profile.png", "bird"},
    {"animals/birds/pink_flamingo.png", "bird"},
    {"animals/birds/owl.png", "bird"},
    {"animals/birds/pelican.png", "bird"},
};

const size_t photograph_count = sizeof photographs / sizeof *photographs;
