/* `ocelli train`: from folders of labelled pictures to a model package. */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cmd/command.h"
#include "cmd/terminal.h"
#include "models/train_job.h"
#include "models/train_package.h"

struct values {
    const char *architecture, *data, *out, *init, *preprocess, *precision;
    const char *name, *version, *licence, *data_name;
    int64_t epochs, batch, seed, threads, input, small_input, cutout, pad, validation;
    double minutes, learning_rate, weight_decay, momentum, label_smoothing, average_decay, warmup,
        small_share;
    bool resume, json;
};

#define TEXT(n, member, v, h)                                                                      \
    {                                                                                              \
        .name = n, .kind = OPTION_TEXT, .offset = offsetof(struct values, member), .value = v,     \
        .help = h                                                                                  \
    }
#define INTEGER(n, member, l, hi, h)                                                               \
    {                                                                                              \
        .name = n, .kind = OPTION_INTEGER, .offset = offsetof(struct values, member),              \
        .value = "N", .help = h, .low = l, .high = hi                                              \
    }
#define REAL(n, member, l, hi, h)                                                                  \
    {                                                                                              \
        .name = n, .kind = OPTION_REAL, .offset = offsetof(struct values, member), .value = "X",   \
        .help = h, .low = l, .high = hi                                                            \
    }
#define FLAG(n, member, h)                                                                         \
    {                                                                                              \
        .name = n, .kind = OPTION_FLAG, .offset = offsetof(struct values, member), .help = h       \
    }

static const struct option options[] = {
    TEXT("arch", architecture, "NAME", "resnet50, mobilenetv2 or efficientnet_b0"),
    TEXT("data", data, "DIR", "folder with train/<class>/<picture>, or of class folders itself"),
    TEXT("out", out, "DIR", "where the model package and the checkpoint go"),
    INTEGER("epochs", epochs, 1, 100000, "passes over the training pictures"),
    REAL("minutes", minutes, 0, 1e6, "fit the schedule into this time instead; 0 for no limit"),
    INTEGER("batch", batch, 1, 4096, "pictures a step"),
    REAL("lr", learning_rate, 1e-9, 100, "the highest learning rate"),
    INTEGER("seed", seed, 0, INT64_MAX, "same seed, same threads: same weights"),
    TEXT("init", init, "FILE", "an ONNX model to start from instead of random weights"),
    FLAG("resume", resume, "go on from the checkpoint in --out"),
    INTEGER("threads", threads, 1, 1024, "threads that share a step"),
    TEXT("precision", precision, "P", "auto, fp32 or bf16"),
    TEXT("preprocess", preprocess, "PRESET", "how pictures are fitted and scaled"),
    INTEGER("input", input, 8, 1024, "height and width of the network's input"),
    INTEGER("small-input", small_input, 0, 1024, "train at this smaller size first; 0: do not"),
    REAL("small-share", small_share, 0, 1, "share of the training at --small-input"),
    INTEGER("validation", validation, 1, 1 << 30, "pictures held out to choose the best epoch by"),
    REAL("weight-decay", weight_decay, 0, 1, "of weights, not of biases and batch norms"),
    REAL("momentum", momentum, 0, 0.9999, "Nesterov's"),
    REAL("label-smoothing", label_smoothing, 0, 0.9, "share of the truth given to all classes"),
    REAL("ema", average_decay, 0, 0.99999, "decay of the averaged weights; 0: no averaging"),
    REAL("warmup", warmup, 0, 1, "share of the training in which the learning rate rises"),
    INTEGER("cutout", cutout, 0, 1024, "side of the square that is blanked out; 0: none"),
    INTEGER("pad", pad, 0, 256, "how far a random crop moves"),
    TEXT("name", name, "NAME", "the package's name; the architecture's otherwise"),
    TEXT("version", version, "V", "the package's version"),
    TEXT("licence", licence, "TEXT", "of the weights, for model.yaml"),
    TEXT("data-name", data_name, "TEXT", "what the pictures are, for model.yaml"),
    FLAG("json", json, "progress and result as JSON lines"),
    {.name = NULL},
};

static const struct usage usage = {
    .name = "train",
    .arguments = "",
    .summary = "train a built-in architecture on folders of labelled pictures",
    .details =
        "A validation split is cut from the training pictures; the epoch that does best on it is "
        "kept.\nThe test pictures are never looked at: `ocelli evaluate --data DIR/test` does "
        "that. "
        "Ctrl-C stops\nafter saving; --resume goes on.",
    .options = options,
};

static volatile sig_atomic_t stop_asked;

static void ask_to_stop(int signal_number)
{
    (void)signal_number;
    stop_asked = 1;
}

/* --- Progress
 * ------------------------------------------------------------------------------------------------
 */

struct display {
    struct terminal terminal;
    bool json;
    int epoch_told; /* the last epoch whose line stands */
};

static void tell_json(const struct train_progress *p)
{
    json_t *line =
        json_pack("{s:i, s:i, s:I, s:f, s:f, s:f, s:f, s:f, s:f}", "epoch", p->epoch, "epochs",
                  p->epochs, "step", (json_int_t)p->step, "loss", p->loss, "accuracy", p->accuracy,
                  "validation", p->validation, "best", p->best, "images_per_second",
                  p->images_per_second, "seconds_left", p->seconds_left);
    json_dumpf(line, stdout, JSON_COMPACT);
    putchar('\n');
    fflush(stdout);
    json_decref(line);
}

static void draw(struct display *display, const struct train_progress *p)
{
    struct buffer text = {0};

    terminal_bar(&display->terminal, p->steps > 0 ? (double)p->step / (double)p->steps : 0.0, 24,
                 &text);
    buffer_print(&text, " epoch %d of %d  loss %.3f  accuracy %.1f %%  %.0f images/s  left ",
                 p->epoch, p->epochs, p->loss, 100.0 * p->accuracy, p->images_per_second);
    terminal_time(p->seconds_left, &text);
    buffer_text(&text, "\n");
    terminal_draw(&display->terminal, &text);
    buffer_free(&text);
}

static bool show(void *context, const struct train_progress *p)
{
    struct display *display = context;

    if (display->json && p->validation >= 0.0) {
        tell_json(p);
    } else if (!display->json && p->validation >= 0.0 && p->epoch > display->epoch_told) {
        display->epoch_told = p->epoch;
        terminal_erase(&display->terminal);
        fprintf(stderr,
                "epoch %3d  loss %.4f  accuracy %5.2f %%  held out %5.2f %%  best %5.2f %%  lr "
                "%.5f\n",
                p->epoch, p->loss, 100.0 * p->accuracy, 100.0 * p->validation, 100.0 * p->best,
                p->learning_rate);
    } else if (!display->json) {
        draw(display, p);
    }
    return !stop_asked;
}

/* --- Running
 * -------------------------------------------------------------------------------------------------
 */

/* The command as it was given, without the folders, which mean nothing on another machine. */
static void command_text(int argc, char **argv, struct buffer *out)
{
    buffer_text(out, "ocelli");
    for (int i = 0; i < argc; i++) {
        if (strcmp(argv[i], "--data") == 0 || strcmp(argv[i], "--out") == 0)
            i++;
        else if (strncmp(argv[i], "--data=", 7) != 0 && strncmp(argv[i], "--out=", 6) != 0)
            buffer_print(out, " %s", argv[i]);
    }
}

static int fill_job(const struct values *values, struct train_job *job, struct error *err)
{
    if (values->data == NULL || values->out == NULL)
        return error_set(err, STATUS_INVALID, "--data and --out must be given");
    if (values->architecture == NULL && values->init == NULL)
        return error_set(err, STATUS_INVALID, "--arch must be given (or --init)");
    *job = train_job_default;
    job->architecture = values->architecture;
    job->data = values->data;
    job->out = values->out;
    job->init = values->init;
    job->preset = values->preprocess;
    job->input = (int)values->input;
    job->small_input = (int)values->small_input;
    job->small_share = values->small_share;
    job->epochs = (int)values->epochs;
    job->minutes = values->minutes;
    job->batch = (int)values->batch;
    job->learning_rate = values->learning_rate;
    job->warmup = values->warmup;
    job->momentum = values->momentum;
    job->weight_decay = values->weight_decay;
    job->label_smoothing = values->label_smoothing;
    job->average_decay = values->average_decay;
    job->cutout = (int)values->cutout;
    job->pad = (int)values->pad;
    job->validation = values->validation;
    job->seed = (uint64_t)values->seed;
    job->threads = (int)values->threads;
    job->resume = values->resume;
    return precision_parse(values->precision, &job->precision, err);
}

static void tell_result(const struct values *values, double best)
{
    if (values->json)
        printf("{\"out\":\"%s\",\"validation_accuracy\":%.4f}\n", values->out, best);
    else
        fprintf(stderr,
                "The model is in %s: %.2f %% right on the pictures held out.\n"
                "Measure it on pictures it has never seen: ocelli evaluate --model %s --data DIR\n",
                values->out, 100.0 * best, values->out);
}

static int train(const struct values *values, int argc, char **argv, struct error *err)
{
    const char *name = values->name != NULL ? values->name : values->architecture;
    const struct train_package package = {.name = name != NULL ? name : "model",
                                          .version = values->version,
                                          .licence = values->licence,
                                          .data = values->data_name};
    struct display display = {.json = values->json};
    struct buffer command = {0};
    struct train_job job;
    double best = 0.0;

    int status = fill_job(values, &job, err);
    if (status != STATUS_OK)
        return status;
    command_text(argc, argv, &command);
    job.command = buffer_ok(&command) ? command.data : NULL;
    job.progress = show;
    job.context = &display;
    terminal_open(&display.terminal, stderr);
    signal(SIGINT, ask_to_stop);
    signal(SIGTERM, ask_to_stop);
    status = train_job_run(&job, &best, err);
    terminal_erase(&display.terminal);
    terminal_close(&display.terminal);
    if (status == STATUS_OK)
        status = train_package_write(&job, &package, err);
    if (status == STATUS_OK)
        tell_result(values, best);
    buffer_free(&command);
    return status;
}

static struct values default_values(void)
{
    const struct train_job *job = &train_job_default;
    return (struct values){
        .preprocess = job->preset,
        .precision = "auto",
        .version = "1",
        .epochs = job->epochs,
        .batch = job->batch,
        .seed = (int64_t)job->seed,
        .threads = job->threads,
        .input = job->input,
        .small_input = job->small_input,
        .cutout = job->cutout,
        .pad = job->pad,
        .validation = job->validation,
        .minutes = job->minutes,
        .learning_rate = job->learning_rate,
        .weight_decay = job->weight_decay,
        .momentum = job->momentum,
        .label_smoothing = job->label_smoothing,
        .average_decay = job->average_decay,
        .warmup = job->warmup,
        .small_share = job->small_share,
    };
}

static int run(int argc, char **argv)
{
    struct values values = default_values();
    const char **arguments = calloc((size_t)argc, sizeof *arguments);
    struct error err = {0};
    int argument_count = 0;
    bool help = false;

    int status = arguments == NULL ? error_set(&err, STATUS_NO_MEMORY, "no memory for the options")
                                   : options_parse(&usage, argc, argv, &values, arguments,
                                                   &argument_count, &help, &err);
    if (status == STATUS_OK && help) {
        struct buffer text = {0};
        options_help(&usage, &text);
        if (buffer_ok(&text))
            fputs(text.data, stdout);
        buffer_free(&text);
    } else if (status == STATUS_OK && argument_count > 0) {
        status =
            error_set(&err, STATUS_INVALID, "takes no arguments, but got '%.64s'", arguments[0]);
    } else if (status == STATUS_OK) {
        status = train(&values, argc, argv, &err);
    }
    free(arguments);
    return status == STATUS_OK ? 0 : command_fail("train", &err);
}

const struct command command_train = {&usage, run};
