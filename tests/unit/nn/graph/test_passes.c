/* Passes keep the function and leave the nodes they should: random small networks and the three
 * architectures, run plainly before and after; each pattern alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "nn/arch/arch.h"
#include "nn/graph/passes.h"
#include "nn/graph/reference.h"
#include "random_graph.h"

static void succeed(int status, const struct error *err)
{
    if (status < 0)
        fail_msg("%s", err->message);
}

static struct tensor *run(const struct graph *graph, const struct tensor *input)
{
    struct error err;
    struct tensor *output = NULL;

    succeed(reference_run(graph, input, &output, &err), &err);
    return output;
}

static int count(const struct graph *graph, enum op op)
{
    int found = 0;

    for (int i = 0; i < graph->node_count; i++)
        found += graph->nodes[i].op == op;
    return found;
}

static void check_order(const struct graph *graph)
{
    for (int i = 0; i < graph->node_count; i++) {
        const struct node *node = &graph->nodes[i];
        assert_true(node->output_count > 0);
        assert_int_equal(graph->values[node->outputs[0]].producer, i);
        for (int j = 0; j < node->input_count; j++)
            if (node->inputs[j] >= 0)
                assert_true(graph->values[node->inputs[j]].producer < i);
        if (node->fused.residual >= 0)
            assert_int_equal(node->fused.residual, node->inputs[node->input_count - 1]);
    }
}

typedef int (*pass)(struct graph *, struct error *);

static void check_same_function(struct graph *graph, pass rewrite, uint64_t seed)
{
    struct error err;
    struct rng rng;
    struct graph *rewritten;

    rng_seed(&rng, seed);
    struct tensor *input = random_input(&rng, graph, 2);
    struct tensor *before = run(graph, input);
    succeed(graph_clone(graph, &rewritten, &err), &err);
    succeed(rewrite(rewritten, &err), &err);
    check_order(rewritten);
    succeed(graph_infer_shapes(rewritten, 2, &err), &err);
    struct tensor *after = run(rewritten, input);
    const double difference = relative_difference(before, after);
    if (!(difference <= 1e-4)) {
        print_message("# before:\n%s# after:\n%s", graph_text(graph), graph_text(rewritten));
        fail_msg("seed %d: relative difference %g", (int)seed, difference);
    }
    tensor_free(input);
    tensor_free(before);
    tensor_free(after);
    graph_free(rewritten);
}

static void test_random_graphs_keep_their_function(void **state)
{
    static const pass passes[] = {passes_canonicalise, passes_fold_constants,
                                  passes_fold_batch_norm, passes_fuse, passes_optimise};
    (void)state;
    for (uint64_t seed = 1; seed <= 400; seed++) {
        struct rng rng;
        rng_seed(&rng, seed);
        struct graph *graph = random_graph(&rng);
        for (size_t i = 0; i < sizeof passes / sizeof *passes; i++)
            check_same_function(graph, passes[i], seed);
        graph_free(graph);
    }
}

static void test_architectures_keep_their_function(void **state)
{
    /* Convolutions, additions fused, nodes in all. */
    static const struct {
        const char *name;
        int convolutions, residuals, multiplications, nodes;
    } wanted[] = {
        {"resnet50", 53, 16, 0, 57}, /* and max-pool, mean, flatten, classifier */
        {"mobilenetv2", 52, 10, 0, 55},
        {"efficientnet_b0", 49 + 32, 9, 16, 81 + 16 + 16 + 3},
    };
    (void)state;
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
        const struct arch_options options = {.classes = 10, .input = 16, .seed = 5};
        struct error err;
        struct graph *graph;
        struct rng rng;
        succeed(arch_build(wanted[i].name, &options, &graph, &err), &err);
        rng_seed(&rng, 11);
        randomise_batch_norms(&rng, graph);
        check_same_function(graph, passes_optimise, 12);
        succeed(passes_optimise(graph, &err), &err);
        int residuals = 0;
        for (int j = 0; j < graph->node_count; j++)
            residuals += graph->nodes[j].fused.residual >= 0;
        assert_int_equal(count(graph, OP_CONV), wanted[i].convolutions);
        assert_int_equal(count(graph, OP_MUL), wanted[i].multiplications);
        assert_int_equal(count(graph, OP_BATCH_NORM), 0);
        assert_int_equal(residuals, wanted[i].residuals);
        assert_int_equal(graph->node_count, wanted[i].nodes);
        assert_string_equal(graph->values[graph->outputs[0]].name, "logits");
        graph_free(graph);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random_graphs_keep_their_function),
        cmocka_unit_test(test_architectures_keep_their_function),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
