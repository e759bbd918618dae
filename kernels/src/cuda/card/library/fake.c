/* A library in cuBLASLt's place, and the two functions of the driver that go with it, for tests: by NVIDIA's documentation
 * of the interface, not by what calls it. Products are computed by plain loops over memory of this machine.
 *
 * Whatever is not as documented (an object that is none, sizes that do not fit, a workspace that is not there) is an error
 * and leaves a line in `complaint`. It counts what it has made and not been given back, and fails a call when told to. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { SUCCESS = 0, INVALID_VALUE = 7, INTERNAL_ERROR = 14, NOT_SUPPORTED = 15 };
enum { R_32F = 0, R_16BF = 14, COMPUTE_32F = 68, DESC_TRANSA = 3, DESC_TRANSB = 4, PREF_MAX_WORKSPACE_BYTES = 1 };
enum { CUDA_OUT_OF_MEMORY = 2 };

typedef struct Object {
    int kind; /* one of the next line, 0 once it is destroyed */
    int type, compute;
    uint64_t rows, columns, workspace;
    int64_t leading;
    int32_t turned[2];
} Object;
enum { HANDLE = 1001, DESCRIPTION, LAYOUT, PREFERENCE };

typedef struct { uint64_t data[8]; } Algorithm;
typedef struct {
    Algorithm algorithm;
    size_t workspace;
    int state;
    float waves;
    int reserved[4];
} Found;

static int live, calls, fail_at = -1, unsupported;
static const char* complaint = "";
static char* workspace;
static uint64_t workspace_bytes;
static void* last_stream;

/* What tests ask and set. */
int fake_live(void) { return live; }
int fake_calls(void) { return calls; }
const char* fake_complaint(void) { return complaint; }
void* fake_stream(void) { return last_stream; }
void* fake_workspace(void) { return workspace; }
void fake_fail_at(int call) { calls = 0; fail_at = call; }
void fake_unsupported(int is) { unsupported = is; }

static int wrong(const char* what) {
    complaint = what;
    return INVALID_VALUE;
}

static int fails(void) { return calls++ == fail_at; }

static int make(Object** to, int kind) {
    if (fails()) return INTERNAL_ERROR;
    if (!to) return wrong("nowhere to put an object");
    *to = calloc(1, sizeof(Object));
    (*to)->kind = kind;
    ++live;
    return SUCCESS;
}

/* Objects are kept, so that one that is used or destroyed once more is found out. */
static int destroy(Object* object, int kind) {
    if (object->kind != kind) return wrong("what is destroyed is not such an object");
    object->kind = 0;
    --live;
    return fails() ? INTERNAL_ERROR : SUCCESS;
}

int cublasLtCreate(Object** handle) { return make(handle, HANDLE); }
int cublasLtDestroy(Object* handle) { return destroy(handle, HANDLE); }

int cublasLtMatmulDescCreate(Object** description, int compute_type, int scale_type) {
    const int status = make(description, DESCRIPTION);
    if (status == SUCCESS) (*description)->compute = compute_type, (*description)->type = scale_type;
    return status;
}
int cublasLtMatmulDescDestroy(Object* description) { return destroy(description, DESCRIPTION); }
int cublasLtMatmulDescSetAttribute(Object* description, int attribute, const void* value, size_t bytes) {
    if (fails()) return INTERNAL_ERROR;
    if (description->kind != DESCRIPTION) return wrong("an attribute of no description");
    if (attribute != DESC_TRANSA && attribute != DESC_TRANSB) return wrong("another attribute of a description");
    if (bytes != sizeof(int32_t)) return wrong("whether a matrix is turned has four bytes");
    memcpy(&description->turned[attribute - DESC_TRANSA], value, bytes);
    return SUCCESS;
}

int cublasLtMatrixLayoutCreate(Object** layout, int type, uint64_t rows, uint64_t columns, int64_t leading) {
    const int status = make(layout, LAYOUT);
    if (status != SUCCESS) return status;
    (*layout)->type = type, (*layout)->rows = rows, (*layout)->columns = columns, (*layout)->leading = leading;
    return leading < (int64_t)rows ? wrong("columns that overlap") : SUCCESS;
}
int cublasLtMatrixLayoutDestroy(Object* layout) { return destroy(layout, LAYOUT); }

int cublasLtMatmulPreferenceCreate(Object** preference) { return make(preference, PREFERENCE); }
int cublasLtMatmulPreferenceDestroy(Object* preference) { return destroy(preference, PREFERENCE); }
int cublasLtMatmulPreferenceSetAttribute(Object* preference, int attribute, const void* value, size_t bytes) {
    if (fails()) return INTERNAL_ERROR;
    if (preference->kind != PREFERENCE) return wrong("an attribute of no preference");
    if (attribute != PREF_MAX_WORKSPACE_BYTES) return wrong("another attribute of a preference");
    if (bytes != sizeof(uint64_t)) return wrong("the size of a workspace has eight bytes");
    memcpy(&preference->workspace, value, bytes);
    return SUCCESS;
}

/* Sizes of a product d[m][n] = op(a)[m][k] * op(b)[k][n], all of them down columns. */
static int sizes(const Object* of, const Object* a, const Object* b, const Object* c, const Object* d, uint64_t* m,
                 uint64_t* n, uint64_t* k) {
    if (of->kind != DESCRIPTION) return wrong("a product of no description");
    if (of->compute != COMPUTE_32F || of->type != R_32F) return wrong("sums or scales that are not single precision");
    const Object* layouts[] = {a, b, c, d};
    for (int at = 0; at < 4; ++at) {
        if (layouts[at]->kind != LAYOUT) return wrong("a matrix of no layout");
        if (layouts[at]->type != (at < 2 ? R_16BF : R_32F)) return wrong("numbers of another kind");
    }
    *m = of->turned[0] ? a->columns : a->rows;
    *k = of->turned[0] ? a->rows : a->columns;
    *n = of->turned[1] ? b->rows : b->columns;
    if ((of->turned[1] ? b->columns : b->rows) != *k) return wrong("inner sizes that differ");
    if (c->rows != *m || c->columns != *n || d->rows != *m || d->columns != *n) return wrong("an output of another size");
    return SUCCESS;
}

static const Algorithm CHOSEN = {{1, 2, 3, 5, 8, 13, 21, 34}};

int cublasLtMatmulAlgoGetHeuristic(Object* handle, Object* description, Object* a, Object* b, Object* c, Object* d,
                                   Object* preference, int requested, Found* found, int* count) {
    uint64_t m, n, k;
    if (fails()) return INTERNAL_ERROR;
    if (handle->kind != HANDLE) return wrong("asked through no handle");
    if (preference->kind != PREFERENCE) return wrong("asked by no preference");
    if (requested < 1 || !found || !count) return wrong("asked for nothing");
    const int status = sizes(description, a, b, c, d, &m, &n, &k);
    if (status != SUCCESS) return status;
    *count = 0;
    if (unsupported) return NOT_SUPPORTED;
    *count = 1;
    memset(found, 0, sizeof *found);
    found->algorithm = CHOSEN;
    found->workspace = preference->workspace;
    return SUCCESS;
}

static float of_bf16(const uint16_t* bits) {
    const uint32_t word = (uint32_t)*bits << 16;
    float number;
    memcpy(&number, &word, sizeof number);
    return number;
}

int cublasLtMatmul(Object* handle, Object* description, const void* alpha, const void* a, Object* a_layout,
                   const void* b, Object* b_layout, const void* beta, const void* c, Object* c_layout, void* d,
                   Object* d_layout, const Algorithm* algorithm, void* space, size_t space_bytes, void* stream) {
    uint64_t m, n, k;
    if (fails()) return INTERNAL_ERROR;
    if (handle->kind != HANDLE) return wrong("multiplied through no handle");
    const int status = sizes(description, a_layout, b_layout, c_layout, d_layout, &m, &n, &k);
    if (status != SUCCESS) return status;
    if (memcmp(algorithm, &CHOSEN, sizeof CHOSEN) != 0) return wrong("an algorithm that nobody chose");
    if (space != workspace || space_bytes != workspace_bytes) return wrong("a workspace of another place or size");
    float scale, keep;
    memcpy(&scale, alpha, sizeof scale);
    memcpy(&keep, beta, sizeof keep);
    for (uint64_t column = 0; column < n; ++column) {
        for (uint64_t row = 0; row < m; ++row) {
            float sum = 0;
            for (uint64_t inner = 0; inner < k; ++inner) {
                const uint64_t left = description->turned[0] ? inner + row * a_layout->leading : row + inner * a_layout->leading;
                const uint64_t right =
                    description->turned[1] ? column + inner * b_layout->leading : inner + column * b_layout->leading;
                sum += of_bf16((const uint16_t*)a + left) * of_bf16((const uint16_t*)b + right);
            }
            /* Where nothing is kept the old output is not read: it may be no number. */
            const float old = keep == 0 ? 0 : keep * ((const float*)c)[row + column * c_layout->leading];
            ((float*)d)[row + column * d_layout->leading] = scale * sum + old;
        }
    }
    last_stream = stream;
    return SUCCESS;
}

int cuMemAlloc_v2(uint64_t* address, size_t bytes) {
    if (fails()) return CUDA_OUT_OF_MEMORY;
    workspace = malloc(bytes);
    workspace_bytes = bytes;
    *address = (uint64_t)(uintptr_t)workspace;
    ++live;
    return SUCCESS;
}
int cuMemFree_v2(uint64_t address) {
    if ((char*)(uintptr_t)address != workspace) return wrong("memory is freed that was not allocated");
    free(workspace);
    workspace = 0;
    --live;
    return fails() ? INTERNAL_ERROR : SUCCESS;
}
