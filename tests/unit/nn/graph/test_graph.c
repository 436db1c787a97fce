/* Graphs as data: names, copies, compaction, counts, the listing. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "kit.h"

static void test_names_are_unique(void **state)
{
    struct error err = {0};
    struct graph *graph = kit_graph();
    const int x = kit_input(graph, SHAPE(DIM_ANY, 3));
    const int a = graph_add_node(graph, OP_RELU, "act", &x, 1, &err);
    const int b = graph_add_node(graph, OP_RELU, "act", &x, 1, &err);
    int c, d;

    (void)state;
    KIT_NODE(graph, OP_RELU, &c, x);
    KIT_NODE(graph, OP_RELU, &d, x);
    assert_string_equal(graph->nodes[0].name, "act");
    assert_string_equal(graph->nodes[1].name, "act_2");
    assert_string_equal(graph->values[b].name, "act_2");
    assert_string_not_equal(graph->nodes[2].name, graph->nodes[3].name);
    assert_int_equal(graph_find_value(graph, "act"), a);
    assert_int_equal(graph_find_value(graph, "no such"), -1);
    assert_int_equal(graph_add_value(graph, "act", NULL, &err), STATUS_EXISTS);
    assert_int_equal(graph_rename_value(graph, b, "act", &err), STATUS_EXISTS);
    succeed(graph_rename_value(graph, b, "other", &err), &err);
    succeed(graph_rename_value(graph, b, "other", &err), &err);
    assert_int_equal(graph_find_value(graph, "other"), b);
    graph_free(graph);
}

static void test_bad_indices_are_refused(void **state)
{
    struct error err = {0};
    struct graph *graph = kit_graph();
    const int none = 7;

    (void)state;
    assert_int_equal(graph_add_node(graph, OP_RELU, NULL, &none, 1, &err), STATUS_INVALID);
    assert_int_equal(graph_add_output(graph, 0, &err), STATUS_INVALID);
    assert_int_equal(graph->node_count, 0);
    assert_int_equal(graph->value_count, 0);
    graph_free(graph);
    graph_free(NULL);
}

static void test_clone_is_deep(void **state)
{
    struct error err;
    struct graph *graph = kit_graph(), *copy = NULL;
    int y;

    (void)state;
    kit_conv(graph, &y, kit_input(graph, SHAPE(DIM_ANY, 2, 5, 5)), 2, 3, 3, true);
    KIT_NODE(graph, OP_CLIP, &y, y)->u.clip.high = 6;
    kit_output(graph, y);
    succeed(graph_infer_shapes(graph, 4, &err), &err);
    char *before = graph_text(graph);
    succeed(graph_clone(graph, &copy, &err), &err);
    char *after = graph_text(copy);
    assert_string_equal(before, after);
    assert_int_equal(copy->value_count, graph->value_count);
    for (int i = 0; i < graph->value_count; i++) {
        const struct tensor *a = graph->values[i].constant, *b = copy->values[i].constant;
        assert_string_equal(graph->values[i].name, copy->values[i].name);
        assert_ptr_not_equal(graph->values[i].name, copy->values[i].name);
        assert_int_equal(a == NULL, b == NULL);
        if (a == NULL)
            continue;
        assert_memory_equal(a->data, b->data, a->size);
        assert_ptr_not_equal(a->data, b->data);
    }
    assert_true(copy->nodes[1].u.clip.high == 6);
    graph_free(graph); /* the copy lives on */
    const int z = copy->outputs[0];
    KIT_NODE(copy, OP_RELU, &y, z);
    succeed(graph_infer_shapes(copy, 2, &err), &err);
    assert_int_equal(copy->values[y].shape.dims[0], 2);
    graph_free(copy);
    free(before);
    free(after);
}

/* x -> relu -> tanh -> out, written last first, with a dead branch and a dead constant. */
static void test_compact_sorts_and_drops(void **state)
{
    struct error err;
    struct graph *graph = kit_graph();
    const int x = kit_input(graph, SHAPE(DIM_ANY, 3));
    int last, first, dead;

    (void)state;
    KIT_NODE(graph, OP_TANH, &last, x);
    const int rewired = graph->node_count - 1;
    kit_f32(graph, SHAPE(4), NULL);
    KIT_NODE(graph, OP_SIGMOID, &dead, x);
    KIT_NODE(graph, OP_SIGMOID, &dead, dead);
    KIT_NODE(graph, OP_RELU, &first, x);
    graph->nodes[rewired].inputs[0] = first;
    kit_output(graph, last);
    assert_int_equal(graph_infer_shapes(graph, DIM_ANY, &err), STATUS_CORRUPT);
    succeed(graph_compact(graph, &err), &err);
    assert_int_equal(graph->node_count, 2);
    assert_int_equal(graph->value_count, 3);
    assert_int_equal(graph->nodes[0].op, OP_RELU);
    assert_int_equal(graph->nodes[1].op, OP_TANH);
    assert_int_equal(graph->nodes[1].inputs[0], graph->nodes[0].outputs[0]);
    assert_int_equal(graph->values[graph->outputs[0]].producer, 1);
    assert_int_equal(graph->values[graph->inputs[0]].producer, -1);
    succeed(graph_infer_shapes(graph, DIM_ANY, &err), &err);
    graph_free(graph);
}

static void test_compact_keeps_what_is_sorted(void **state)
{
    struct error err;
    struct graph *graph = kit_graph();
    const int x = kit_input(graph, SHAPE(DIM_ANY, 3));
    int a, b, c;

    (void)state;
    KIT_NODE(graph, OP_RELU, &a, x);
    KIT_NODE(graph, OP_TANH, &b, x);
    KIT_NODE(graph, OP_SUB, &c, b, a);
    kit_output(graph, c);
    char *before = graph_text(graph);
    succeed(graph_compact(graph, &err), &err);
    char *after = graph_text(graph);
    assert_string_equal(before, after);
    free(before);
    free(after);
    graph_free(graph);
}

static void test_compact_refuses_nonsense(void **state)
{
    struct error err = {0};
    struct graph *graph = kit_graph();
    const int x = kit_input(graph, SHAPE(DIM_ANY, 3));
    int a, b;

    (void)state;
    KIT_NODE(graph, OP_ADD, &a, x, x);
    KIT_NODE(graph, OP_RELU, &b, a);
    kit_output(graph, b);
    graph->nodes[0].inputs[1] = b;
    assert_int_equal(graph_compact(graph, &err), STATUS_CORRUPT);
    assert_non_null(strstr(err.message, "depends on its own output"));
    graph->nodes[0].inputs[1] = x;
    graph->nodes[1].outputs[0] = a;
    assert_int_equal(graph_compact(graph, &err), STATUS_CORRUPT);
    assert_non_null(strstr(err.message, "computed twice"));
    graph_free(graph);
}

static void test_counts(void **state)
{
    struct error err;
    struct graph *graph = kit_graph();
    int y;

    (void)state;
    struct node *conv =
        kit_conv(graph, &y, kit_input(graph, SHAPE(DIM_ANY, 2, 6, 6)), 2, 8, 3, true);
    conv->u.conv.window.stride[0] = conv->u.conv.window.stride[1] = 2;
    KIT_NODE(graph, OP_GLOBAL_AVERAGE_POOL, &y, y);
    KIT_NODE(graph, OP_FLATTEN, &y, y)->u.axis.axis = 1;
    const int weights = kit_f32(graph, SHAPE(5, 8), NULL);
    KIT_NODE(graph, OP_GEMM, &y, y, weights)->u.gemm.transpose_b = true;
    kit_i64(graph, SHAPE(2), NULL); /* no parameter */
    kit_output(graph, y);
    succeed(graph_infer_shapes(graph, DIM_ANY, &err), &err);
    assert_int_equal(graph_macs(graph), 3 * 3 * 8 * (2 * 3 * 3) + 5 * 8);
    assert_int_equal(graph_parameters(graph), 8 * 2 * 3 * 3 + 8 + 5 * 8);
    graph_free(graph);
}

static void test_text_lists_nodes(void **state)
{
    struct error err;
    struct graph *graph = kit_graph();
    int y;

    (void)state;
    struct node *conv =
        kit_conv(graph, &y, kit_input(graph, SHAPE(DIM_ANY, 2, 6, 6)), 2, 2, 3, true);
    conv->fused.activation = ACTIVATION_SWISH;
    kit_output(graph, y);
    succeed(graph_infer_shapes(graph, DIM_ANY, &err), &err);
    char *text = graph_text(graph);
    assert_non_null(strstr(text, "Conv"));
    assert_non_null(strstr(text, "[?, 2, 6, 6] 3x3 swish\n"));
    free(text);
    for (int op = 0; op < OP_COUNT; op++)
        assert_string_not_equal(op_name((enum op)op), "unknown");
    assert_string_equal(op_name(OP_COUNT), "unknown");
    graph_free(graph);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names_are_unique),
        cmocka_unit_test(test_bad_indices_are_refused),
        cmocka_unit_test(test_clone_is_deep),
        cmocka_unit_test(test_compact_sorts_and_drops),
        cmocka_unit_test(test_compact_keeps_what_is_sorted),
        cmocka_unit_test(test_compact_refuses_nonsense),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_text_lists_nodes),
    };
    cmocka_set_message_output(CM_OUTPUT_TAP);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
