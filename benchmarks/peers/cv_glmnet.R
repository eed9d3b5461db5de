# cv.glmnet as a worker: Rscript cv_glmnet.R FOLDER ALPHA THRESH sparse|dense WORKERS
# Loads the rows in FOLDER, prints "ready"; on "go" fits and prints "done SECONDS"; on "save" writes the answer.
suppressPackageStartupMessages({
  library(Matrix)
  library(glmnet)
})
arguments <- commandArgs(trailingOnly = TRUE)
folder <- arguments[1]
alpha <- as.numeric(arguments[2])
thresh <- as.numeric(arguments[3])
workers <- as.integer(arguments[5])

read <- function(name, what) {
  file <- file.path(folder, name)
  size <- if (what == "integer") 4 else 8
  readBin(file, what, file.size(file) / size, size = size, endian = "little")
}
sizes <- read("sizes", "integer")
x <- new("dgCMatrix", i = read("i", "integer"), p = read("p", "integer"), x = read("x", "numeric"), Dim = sizes)
if (arguments[4] == "dense") x <- as.matrix(x)
y <- read("y", "numeric")
w <- read("w", "numeric")
foldid <- read("fold", "integer") + 1L
penalties <- read("penalties", "numeric")
if (workers > 1) {
  suppressPackageStartupMessages(library(doParallel))
  registerDoParallel(workers)
}
cat("ready\n")

input <- file("stdin", "r")
while (length(line <- readLines(input, 1)) > 0) {
  if (line == "go") {
    seconds <- system.time(fit <- cv.glmnet(
      x, y, family = "poisson", weights = if (all(w == 1)) NULL else w, foldid = foldid, lambda = penalties,
      alpha = alpha, lower.limits = 0, standardize = FALSE, thresh = thresh, maxit = 1e7, parallel = workers > 1
    ))
    cat("done", seconds[["elapsed"]], "\n")
  } else {
    if (length(fit$lambda) != length(penalties)) stop("glmnet gave ", length(fit$lambda), " penalties")
    b <- as.matrix(fit$glmnet.fit$beta) # p x m: its columns are the rows of a C-ordered m x p
    writeBin(as.double(b), file.path(folder, "answer_b"), endian = "little")
    writeBin(as.integer(c(ncol(b), nrow(b))), file.path(folder, "answer_sizes"), endian = "little")
    writeBin(as.double(fit$glmnet.fit$a0), file.path(folder, "answer_b0"), endian = "little")
    writeBin(as.double(fit$cvm), file.path(folder, "answer_deviance"), endian = "little")
    cat("saved\n")
  }
}
