// The smallest target that holds the conversation answers: room that is not needed is paid for, in USD or in waiting.
//
// A target is large enough when its context holds the prompt by the host's estimate, with a margin for the estimate's
// error, and the answer that the client accepts. Among those the cheapest comes first, then the smallest. What cannot
// hold it is left out, so that no attempt is made in vain.

#include <stdlib.h>
#include <string.h>

#include "policy.h"

typedef exports_lockgate_plugin_route_borrow_request_t request_t;
typedef exports_lockgate_plugin_route_own_plan_t plan_t;
typedef exports_lockgate_plugin_route_own_refusal_t refusal_t;

enum { ATTEMPTS_MAX = 16, WORDS_BYTES = 160 };

typedef struct {
    policy_string_t id;
    double usd;       // of a million tokens in and out
    uint64_t context; // tokens; UINT64_MAX where nobody knows
    bool is_broken;
} target_t;

// A whole number of the settings; what is no number is the operator's mistake, and told.
static bool setting(const char *name, uint64_t absent, uint64_t *number) {
    policy_string_t key, value;
    policy_string_set(&key, name);
    *number = absent;
    if (!lockgate_plugin_settings_get(&key, &value)) return true;
    *number = 0;
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] < '0' || value.ptr[i] > '9' || *number > 1000000000) return false;
        *number = *number * 10 + (value.ptr[i] - '0');
    }
    return value.len > 0;
}

static int by_fit(const void *left, const void *right) {
    const target_t *one = left, *other = right;
    if (one->is_broken != other->is_broken) return one->is_broken - other->is_broken;
    if (one->usd != other->usd) return one->usd < other->usd ? -1 : 1;
    if (one->context != other->context) return one->context < other->context ? -1 : 1;
    return 0;
}

// Fills `targets` with those that are permitted and hold `tokens`, the best first, and counts what was too small.
static size_t choose(uint64_t tokens, target_t **targets, size_t *too_small) {
    policy_list_string_t ids;
    policy_list_bool_t permitted;
    policy_list_option_u64_t contexts;
    lockgate_plugin_catalog_list_option_price_t prices;
    lockgate_plugin_catalog_list_locality_t places;
    lockgate_plugin_catalog_list_breaker_t breakers;
    lockgate_plugin_catalog_ids(&ids);
    lockgate_plugin_catalog_permitted(&permitted);
    lockgate_plugin_catalog_context_tokens(&contexts);
    lockgate_plugin_catalog_prices(&prices);
    lockgate_plugin_catalog_localities(&places);
    lockgate_plugin_catalog_breakers(&breakers);

    size_t count = 0;
    *too_small = 0;
    *targets = calloc(ids.len + 1, sizeof(target_t));
    if (*targets == NULL) abort();
    for (size_t i = 0; i < ids.len; i++) {
        if (!permitted.ptr[i]) continue;
        uint64_t context = contexts.ptr[i].is_some ? contexts.ptr[i].val : UINT64_MAX;
        if (context < tokens) {
            ++*too_small;
            continue;
        }
        // What no price is known of is dear, unless it is ours.
        bool is_local = places.ptr[i].tag == LOCKGATE_PLUGIN_TYPES_LOCALITY_LOCAL;
        double usd = is_local ? 0.0 : 1e9;
        if (prices.ptr[i].is_some) usd = prices.ptr[i].val.input + prices.ptr[i].val.output;
        bool is_broken = breakers.ptr[i] == LOCKGATE_PLUGIN_TYPES_BREAKER_OPEN;
        (*targets)[count++] = (target_t){ids.ptr[i], usd, context, is_broken};
    }
    qsort(*targets, count, sizeof(target_t), by_fit);
    return count;
}

static char *append(char *end, const char *words) {
    size_t length = strlen(words);
    memcpy(end, words, length + 1);
    return end + length;
}

static char *append_number(char *end, uint64_t number) {
    if (number >= 10) end = append_number(end, number / 10);
    *end++ = (char)('0' + number % 10);
    *end = '\0';
    return end;
}

static bool refuse(refusal_t *refusal, const char *reason) {
    policy_string_t words;
    policy_string_set(&words, reason);
    *refusal = lockgate_plugin_plan_constructor_refusal(&words);
    return false;
}

static bool decide(request_t request, plan_t *plan, refusal_t *refusal) {
    uint64_t margin, answer;
    if (!setting("margin_percent", 25, &margin) || !setting("answer_tokens", 1024, &answer))
        return refuse(refusal, "the settings of best-fit are wrong: margin_percent and answer_tokens are whole numbers");
    uint64_t accepted;
    if (lockgate_plugin_request_method_request_answer_tokens_max(request, &accepted)) answer = accepted;
    uint64_t prompt = lockgate_plugin_request_method_request_estimate_tokens(request);
    uint64_t tokens = prompt + prompt / 100 * margin + prompt % 100 * margin / 100;
    tokens = answer > UINT64_MAX - tokens ? UINT64_MAX : tokens + answer;

    target_t *targets;
    size_t too_small;
    size_t count = choose(tokens, &targets, &too_small);
    char reason[WORDS_BYTES];
    if (count == 0) {
        char *end = append(reason, "no permitted target holds ");
        append(append_number(end, tokens), " tokens of prompt and answer");
        return refuse(refusal, reason);
    }
    *plan = lockgate_plugin_plan_constructor_plan();
    lockgate_plugin_plan_borrow_plan_t borrowed = lockgate_plugin_plan_borrow_plan(*plan);
    for (size_t i = 0; i < count && i < ATTEMPTS_MAX; i++)
        lockgate_plugin_plan_method_plan_add_attempt(borrowed, &targets[i].id);
    char *end = append(append_number(append(reason, "needs "), tokens), " tokens; too small: ");
    append_number(end, too_small);
    policy_string_t words;
    policy_string_set(&words, reason);
    lockgate_plugin_plan_method_plan_set_reason(borrowed, &words);
    return true;
}

bool exports_lockgate_plugin_route_route(request_t request, plan_t *plan, refusal_t *refusal) {
    bool is_planned = decide(request, plan, refusal);
    // It was lent, and is given back before the answer.
    lockgate_plugin_request_request_drop_borrow(request);
    return is_planned;
}
