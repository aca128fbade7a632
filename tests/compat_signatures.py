"""What `multinerf.compat.multinerf` promises: upstream's signatures.

Facts about google-research/multinerf@5b4d4f6, kept here so that the test runs
anywhere; a test compares this copy with the specification it is made from.
"""

_EPS = 'jnp.finfo(jnp.float32).eps'
_DOMAIN = 'domain=(-jnp.inf, jnp.inf)'
_CAMTYPE = 'camtype=ProjectionType.PERSPECTIVE'

MULTINERF = {
  'math': [
    'matmul(a, b)',
    'safe_trig_helper(x, fn, t=100 * jnp.pi)',
    'safe_cos(x)',
    'safe_sin(x)',
    'safe_exp(x)',
    'safe_exp_jvp(primals, tangents)',
    'log_lerp(t, v0, v1)',
    'learning_rate_decay(step, lr_init, lr_final, max_steps, '
    'lr_delay_steps=0, lr_delay_mult=1)',
    'interp(*args)',
    'sorted_interp(x, xp, fp)',
  ],
  'stepfun': [
    'searchsorted(a, v)',
    'query(tq, t, y, outside_value=0)',
    'inner_outer(t0, t1, y1)',
    f'lossfun_outer(t, w, t_env, w_env, eps={_EPS})',
    f'weight_to_pdf(t, w, eps={_EPS} ** 2)',
    'pdf_to_weight(t, p)',
    f'max_dilate(t, w, dilation, {_DOMAIN})',
    f'max_dilate_weights(t, w, dilation, {_DOMAIN}, renormalize=False, '
    f'eps={_EPS} ** 2)',
    'integrate_weights(w)',
    'invert_cdf(u, t, w_logits, use_gpu_resampling=False)',
    'sample(rng, t, w_logits, num_samples, single_jitter=False, '
    'deterministic_center=False, use_gpu_resampling=False)',
    'sample_intervals(rng, t, w_logits, num_samples, single_jitter=False, '
    f'{_DOMAIN}, use_gpu_resampling=False)',
    'lossfun_distortion(t, w)',
    'interval_distortion(t0_lo, t0_hi, t1_lo, t1_hi)',
    'weighted_percentile(t, w, ps)',
    f'resample(t, tp, vp, use_avg=False, eps={_EPS})',
  ],
  'coord': [
    'contract(x)',
    'inv_contract(z)',
    'track_linearize(fn, mean, cov)',
    'construct_ray_warps(fn, t_near, t_far)',
    'expected_sin(mean, var)',
    'integrated_pos_enc(mean, var, min_deg, max_deg)',
    'lift_and_diagonalize(mean, cov, basis)',
    'pos_enc(x, min_deg, max_deg, append_identity=True)',
  ],
  'render': [
    'lift_gaussian(d, t_mean, t_var, r_var, diag)',
    'conical_frustum_to_gaussian(d, t0, t1, base_radius, diag, stable=True)',
    'cylinder_to_gaussian(d, t0, t1, radius, diag)',
    'cast_rays(tdist, origins, directions, radii, ray_shape, diag=True)',
    'compute_alpha_weights(density, tdist, dirs, opaque_background=False)',
    'volumetric_rendering(rgbs, weights, tdist, bg_rgbs, t_far, '
    'compute_extras, extras=None)',
  ],
  'ref_utils': [
    'reflect(viewdirs, normals)',
    f'l2_normalize(x, eps={_EPS})',
    'compute_weighted_mae(weights, normals, normals_gt)',
    'generalized_binomial_coeff(a, k)',
    'assoc_legendre_coeff(l, m, k)',
    'sph_harm_coeff(l, m, k)',
    'get_ml_array(deg_view)',
    'generate_ide_fn(deg_view)',
    'generate_dir_enc_fn(deg_view)',
  ],
  'geopoly': [
    'compute_sq_dist(mat0, mat1=None)',
    'compute_tesselation_weights(v)',
    'tesselate_geodesic(base_verts, base_faces, v, eps=0.0001)',
    'generate_basis(base_shape, angular_tesselation, '
    'remove_symmetries=True, eps=0.0001)',
  ],
  'image': [
    'mse_to_psnr(mse)',
    'psnr_to_mse(psnr)',
    'ssim_to_dssim(ssim)',
    'dssim_to_ssim(dssim)',
    'linear_to_srgb(linear, eps=None, xnp=jnp)',
    'srgb_to_linear(srgb, eps=None, xnp=jnp)',
    'downsample(img, factor)',
    'color_correct(img, ref, num_iters=5, eps=0.5 / 255)',
  ],
  'camera_utils': [
    'convert_to_ndc(origins, directions, pixtocam, near=1.0, xnp=np)',
    'pad_poses(p)',
    'unpad_poses(p)',
    'recenter_poses(poses)',
    'average_pose(poses)',
    'viewmatrix(lookdir, up, position)',
    'normalize(x)',
    'focus_point_fn(poses)',
    'generate_spiral_path(poses, bounds, n_frames=120, n_rots=2, zrate=0.5)',
    'transform_poses_pca(poses)',
    'generate_ellipse_path(poses, n_frames=120, const_speed=True, '
    'z_variation=0.0, z_phase=0.0)',
    'generate_interpolated_path(poses, n_interp, spline_degree=5, '
    'smoothness=0.03, rot_weight=0.1)',
    'interpolate_1d(x, n_interp, spline_degree, smoothness)',
    'create_render_spline_path(config, image_names, poses, exposures)',
    'intrinsic_matrix(fx, fy, cx, cy, xnp=np)',
    'get_pixtocam(focal, width, height, xnp=np)',
    'pixel_coordinates(width, height, xnp=np)',
    'pixels_to_rays(pix_x_int, pix_y_int, pixtocams, camtoworlds, '
    f'distortion_params=None, pixtocam_ndc=None, {_CAMTYPE}, xnp=np)',
    f'cast_ray_batch(cameras, pixels, {_CAMTYPE}, xnp=np)',
    'cast_pinhole_rays(camtoworld, height, width, focal, near, far, xnp)',
    'cast_spherical_rays(camtoworld, height, width, near, far, xnp)',
  ],
  'robustnerf': ['robustnerf_mask(errors, loss_threshold, config)'],
  'raw_utils': [
    'postprocess_raw(raw, camtorgb, exposure=None, xnp=np)',
    'pixels_to_bayer_mask(pix_x, pix_y)',
    'bilinear_demosaic(bayer, xnp)',
    'load_raw_images(image_dir, image_names=None)',
    'process_exif(exifs)',
    'load_raw_dataset(split, data_dir, image_names, exposure_percentile, '
    'n_downsample)',
    'best_fit_affine(x, y, axis)',
    'match_images_affine(est, gt, axis=(0, 1))',
  ],
  'utils': [
    'dummy_rays(include_exposure_idx=False, include_exposure_values=False)',
    "open_file(pth, mode='r')",
    'file_exists(pth)',
    'listdir(pth)',
    'isdir(pth)',
    'makedirs(pth)',
    'shard(xs)',
    'unshard(x, padding=0)',
    'load_img(pth)',
    'load_exif(pth)',
    'save_img_u8(img, pth)',
    'save_img_f32(depthmap, pth)',
  ],
  # Not in the specification's list; upstream's own signatures.
  'train_utils': [
    'tree_sum(tree)',
    'tree_norm_sq(tree)',
    'tree_norm(tree)',
    'tree_abs_max(tree)',
    'tree_len(tree)',
    'summarize_tree(tree, fn, ancestry=(), max_depth=3)',
    'compute_data_loss(batch, renderings, rays, loss_threshold, config)',
    'interlevel_loss(ray_history, config)',
    'distortion_loss(ray_history, config)',
    'orientation_loss(rays, model, ray_history, config)',
    'predicted_normal_loss(model, ray_history, config)',
    'clip_gradients(grad, config)',
    'create_train_step(model, config, dataset=None)',
    'create_optimizer(config, variables)',
    'create_render_fn(model)',
    'setup_model(config, rng, dataset=None)',
  ],
  'models': [
    'construct_model(rng, rays, config)',
    'render_image(render_fn, rays, rng, config, verbose=True)',
  ],
  'datasets': ['load_dataset(split, train_dir, config)'],
}
UNSPECIFIED = ('train_utils', 'models', 'datasets')
